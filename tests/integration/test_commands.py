"""The command line, where nothing else is running: what it says of the user's own mistakes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from celeriac.cli import entry
from tests.processes import run
from tests.workers import ROOT, celery, environment


@pytest.mark.parametrize("command", ["worker", "beat", "up", "db current"])
def test_bad_settings_are_sentences_without_a_traceback(command: str) -> None:
    env = environment("", "mysql://me:hunter2@host/n", {"max_tries": "none"})
    ended = celery(*command.split(), env=env)
    assert ended.returncode == 1
    assert ended.stderr.startswith("celery: the settings have 2 problems:\n  - DATABASE_URL: ")
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr


#: They go on until they are stopped, and answer nothing.
SERVE = frozenset({"up", "metrics", "flower"})


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of ours, by its words."""
    for one in entry_points(group="celery.commands"):
        if one.value.startswith("celeriac.") and one.name not in SERVE | {"flower"}:
            yield from _below(one.name, one.load().real())


def _below(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield words, command
        return
    for name, each in command.commands.items():
        yield from _below(f"{words} {name}", each)


def test_every_command_that_answers_takes_json_and_is_on_the_page() -> None:
    page = (ROOT / "docs" / "commands.md").read_text().partition("## JSON")[2]
    found = dict(commands())
    assert len(found) > 20
    assert [
        words for words, each in found.items() if "as_json" not in {option.name for option in each.params}
    ] == []
    assert [words for words in found if not re.search(rf"`{words}`|`{words.split()[-1]}`", page)] == []


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (
            ["no.such.task"],
            2,
            "error: no task is named 'no.such.task'; one of other code is named in CELERIAC_FOREIGN_TASKS; "
            "see `celery -A app inspect registered`",
        ),
        (
            ["maintenance.prune", "--queue", "high.low"],
            2,
            "error: queue: a lane's name must not be or end in",
        ),
    ],
)
def test_what_a_command_of_celerys_own_is_refused_is_a_sentence(
    sqlite_url: str, words: list[str], status: int, sentence: str
) -> None:
    env = environment("redis://127.0.0.1:1/0", sqlite_url)
    ended = celery("call", *words, env=env)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert ended.stderr.startswith(sentence)


def test_a_command_that_is_not_called_costs_no_start() -> None:
    """Celery imports every entry point, whichever command is called."""
    code = """
import sys
from importlib.metadata import entry_points
before = set(sys.modules)
import celery.bin.celery
ours = [one for one in entry_points(group="celery.commands") if one.value.startswith("celeriac.")]
for one in ours:
    one.load()
assert not {"rich", "sqlalchemy", "alembic"} & {name.split(".")[0] for name in sys.modules}
print(bool(ours), sorted({name for name in sys.modules if name.startswith("celeriac.cli.")}))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert ended.stdout == "True ['celeriac.cli.entry']\n", ended.stderr


def test_flower_that_is_not_installed_is_one_sentence(sqlite_url: str) -> None:
    code = """
import sys
sys.modules["flower"] = None
from celery.bin.celery import celery, main
from celeriac.cli.entry import flower
celery.add_command(flower)
sys.argv = ["celery", "-A", "app", "flower", "--port=0"]
main()
"""
    env = environment("redis://127.0.0.1:1/0", sqlite_url)
    argv = [sys.executable, "-c", code]
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert ended.stderr == "Error: Flower is not installed: run `pip install 'celeriac[flower]'`\n"


def test_flower_that_is_installed_is_its_own_command(sqlite_url: str) -> None:
    code = """
import sys
from celery.bin.celery import celery, main
from celeriac.cli.entry import flower
celery.add_command(flower)
sys.argv = ["celery", "-A", "app", "flower", "--help"]
main()
"""
    env = environment("redis://127.0.0.1:1/0", sqlite_url)
    argv = [sys.executable, "-c", code]
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "TORNADO_ARGV" in ended.stdout


@pytest.mark.parametrize(
    ("words", "said"), [((), "no app was named"), (("-A", "another"), "is another Celery app")]
)
def test_for_another_app_our_commands_are_one_sentence(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "another.py").write_text("from celery import Celery\napp = Celery('another')\n")
    argv = [sys.executable, "-m", "celery", *words, "jobs", "list"]
    ended = run(argv, cwd=tmp_path, env=os.environ)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: `jobs` is a command of Celeriac apps, and ")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", sorted({*entry.__all__} - {"flower"}))  # which is another project's
def test_an_entry_point_says_of_its_command_what_the_command_says(name: str) -> None:
    stand_in = getattr(entry, name)
    assert (stand_in.real().name, stand_in.real().short_help) == (stand_in.name, stand_in.short_help)
