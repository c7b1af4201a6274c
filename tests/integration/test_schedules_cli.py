"""``celery -A app schedules``: what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery.bin.base import CLIContext
from click.testing import Result
from sqlalchemy import update

import tests.jobs  # noqa: F401
from celeriac.application import Celeriac
from celeriac.cli.commands.schedules import schedules
from celeriac.ledger.schema.models import SCHEDULES
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.commands import runner, said
from tests.workers import celery, environment

ROOT = Path(__file__).resolve().parent.parent.parent


def context(app: Celeriac) -> CLIContext:
    return CLIContext(app=app, no_color=True, workdir=None, quiet=False)


class Terminal:
    def __init__(self, app: Celeriac) -> None:
        self.app = app

    def __call__(self, *words: str) -> Result:
        return runner().invoke(schedules, list(words), obj=context(self.app))

    def says(self, *words: str) -> str:
        """The output of a call that ends well."""
        result = self(*words)
        assert result.exit_code == 0, said(result)
        return said(result)

    def schedule(self, *words: str) -> Any:
        return self.json(*words)["schedule"]

    def json(self, *words: str) -> Any:
        return json.loads(self.says(*words, "--json"))


@pytest.fixture
def run(redis_url: str, sqlite_url: str) -> Iterator[Terminal]:
    known: dict[str, Any] = {"broker_url": redis_url, "database_url": sqlite_url}
    app = build(Settings(**known, task_modules=("tests.jobs",)), set_as_current=False)
    with closing(app), closing(app.database):
        yield Terminal(app)


def test_a_schedules_life(run: Terminal) -> None:
    assert "there are no schedules" in said(run("list"))
    added = run.schedule(
        "add",
        "nightly",
        "tests.add",
        "--cron",
        "0 3 * * *",
        "--timezone",
        "Europe/Berlin",
        "--args",
        "[1, 2]",
    )
    assert (added["expression"], added["state"], added["args"]) == ("0 3 * * *", "enabled", "(1, 2)")
    (listed,) = run.json("list")["schedules"]
    assert listed == added
    assert run.json("next", "nightly", "-n", "3")["runs"][0] == added["next_run"]
    assert "At 03:00 (Europe/Berlin)" in run.says("show", "nightly")
    assert "is disabled" in run.says("disable", "nightly")
    assert run.schedule("show", "nightly")["state"] == "disabled"
    assert "is enabled, next run" in run.says("enable", "nightly")
    assert job(run.says("run-now", "nightly").strip(), app=run.app).schedule == "nightly"
    assert run.schedule("show", "nightly")["run_count"] == 1
    assert "is removed" in run.says("remove", "nightly")
    ended = run("list", "--json")
    assert (ended.exit_code, json.loads(ended.stdout)["schedules"]) == (1, [])


def test_the_options_of_a_schedule(run: Terminal) -> None:
    words = "--every 5m --priority 25 --max-tries 2 --catch-up all --overlap skip --jitter 30s --disabled"
    added = run.schedule("add", "tick", "tests.noop", *words.split())
    assert (added["expression"], added["options"]) == ("300", {"priority": 25, "max_tries": 2})
    assert (added["catch_up"], added["overlap"], added["jitter"]) == ("all", "skip", 30.0)
    assert (added["state"], added["next_run"]) == ("disabled", None)


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("show", "nowhere"), 1, "no schedule is named 'nowhere'"),
        (("add", "bad", "tests.nop", "--cron", "0 0 30 2 *"), 2, "did you mean 'tests.noop'"),
        (("add", "bad", "tests.noop"), 2, "one of every, cron and at"),
        (("add", "bad", "tests.noop", "--every", "soon"), 2, "wanted seconds"),
        (("add", "bad", "tests.noop", "--every", "1e999"), 2, "every: wanted 1 second"),
        (("add", "bad", "tests.noop", "--every", "60", "--args", "{}"), 2, "wanted a JSON array"),
        (("add", "bad", "tests.noop", "--every", "60", "--args", "[" * 100_000), 2, "--args"),
        (("add", "bad", "tests.noop", "--every", "60", "--catch-up", "twice"), 2, "catch-up"),
        (("add", "b\x1b[2Jad", "tests.noop", "--every", "60"), 2, r"b\x1b[2Jad"),
        (("next", "nowhere", "-n", "0"), 2, "range"),
        (("remove", "nul\x00"), 1, "no schedule is named"),
        (("show", "no text\udcff"), 1, "no schedule is named"),
        (("add", "no text\udcff", "tests.noop", "--every", "60"), 2, "lone surrogates cannot be stored"),
        (("add", "bad", "tests.noop", "--every", "60", "--priority", "9" * 5000), 2, "wanted one of low"),
        (("add", "bad", "tests.noop", "--every", "60", "--priority", "urgent"), 2, "wanted one of low"),
    ],
)
def test_a_mistake_ends_with_a_sentence(
    run: Terminal, words: tuple[str, ...], status: int, sentence: str
) -> None:
    result = run(*words)
    assert result.exit_code == status
    assert sentence in said(result)
    assert "Traceback" not in said(result)
    assert isinstance(result.exception, SystemExit)


def test_a_static_schedule_is_refused_not_typed_wrongly(run: Terminal) -> None:
    run.says("add", "fixed", "tests.noop", "--every", "60")
    with run.app.database.transaction() as connection:
        connection.execute(update(SCHEDULES).values(static=True))
    for words in (("remove", "fixed"), ("add", "fixed", "tests.noop", "--every", "90")):
        result = run(*words)
        assert (result.exit_code, "it is static" in said(result)) == (1, True)


def test_what_changes_a_schedule_answers_in_json_too(run: Terminal) -> None:
    run.says("add", "tick", "tests.noop", "--every", "60")
    assert run.schedule("disable", "tick")["state"] == "disabled"
    assert run.schedule("enable", "tick")["state"] == "enabled"
    ran = run.json("run-now", "tick")
    assert (ran["command"], ran["name"]) == ("schedules run-now", "tick")
    assert job(ran["id"], app=run.app).schedule == "tick"
    assert run.json("remove", "tick") == {"version": 1, "command": "schedules remove", "name": "tick"}


def test_a_database_that_is_away_is_a_sentence(run: Terminal, tmp_path: Path) -> None:
    known: dict[str, Any] = {"database_url": f"sqlite:///{tmp_path / 'none' / 'ledger.db'}"}
    run.app = build(Settings(**known, broker_url="redis://127.0.0.1:1/0"), set_as_current=False)
    result = run("list")
    assert (result.exit_code, "the ledger's database " in said(result)) == (1, True)


def test_a_name_cannot_forge_a_row_of_the_table(run: Terminal) -> None:
    run.says("add", "honest", "tests.noop", "--every", "60")
    with run.app.database.transaction() as connection:  # which ``register`` would refuse
        forged = "x\n nightly [bold]tests.noop[/bold] \x1b[1A\x1b[2K\r\u202e"
        connection.execute(update(SCHEDULES).values(name=forged))
    output = run.says("list")
    assert not [line for line in output.splitlines() if line.strip().startswith("nightly")]
    assert not {"\x1b", "\r", "\u202e"} & set(output)
    assert "[bold]" in output
    assert r"\n nightly" in output


def test_what_is_sensitive_is_hidden(run: Terminal) -> None:
    added = run(
        "add", "in", "tests.log_in", "--every", "60", "--kwargs", '{"user": "ann", "password": "hunter2"}'
    )
    assert added.exit_code == 0
    for output in (said(added), run.says("show", "in"), run.says("list", "--json")):
        assert "hunter2" not in output


def test_celery_knows_the_command(redis_url: str, sqlite_url: str) -> None:
    done = celery("schedules", "list", "--json", env=environment(redis_url, sqlite_url))
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (
        1,
        {"version": 1, "command": "schedules list", "schedules": []},
        "",
    )
