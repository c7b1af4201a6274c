"""``celeriac`` takes what ``celery`` takes: it runs our commands, and hands the others to Celery."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from celery.bin.celery import celery
from click.testing import Result

from celeriac import __version__
from celeriac.cli.program import program
from tests.commands import runner, said
from tests.workers import ROOT, environment

SCRIPT = str(Path(sys.executable).with_name("celeriac"))


def ran(*words: str, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    """What the console script says, with a ledger at ``url`` and no broker."""
    env = environment("redis://127.0.0.1:1/0", url) | more
    return subprocess.run([SCRIPT, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


def typed(*words: str) -> Result:
    return runner().invoke(program, list(words), auto_envvar_prefix="CELERY")


def test_it_takes_every_option_of_celery() -> None:
    ours = {name: param for param in program.params for name in param.opts}
    theirs = {name for param in celery.params for name in param.opts}
    assert theirs <= {*ours}


def test_our_commands_are_its_own(sqlite_url: str) -> None:
    found = ran("-A", "app", "jobs", "list", "--json", url=sqlite_url)
    assert json.loads(found.stdout)["jobs"] == []
    assert found.returncode == 1, found.stderr


def test_other_commands_are_celerys(sqlite_url: str) -> None:
    found = ran("-A", "app", "report", url=sqlite_url)
    assert "software -> celery:" in found.stdout, found.stderr
    assert found.returncode == 0


def test_a_setting_that_is_wrong_is_one_sentence(sqlite_url: str) -> None:
    found = ran("-A", "app", "jobs", "list", url=sqlite_url, CELERIAC_MAX_TRIES="many")
    assert "CELERIAC_MAX_TRIES" in found.stderr
    assert "Traceback" not in found.stderr
    assert found.returncode == 1


@pytest.mark.parametrize(
    ("app", "sentence"),
    [("no_such_module", "there is no module 'no_such_module'"), ("json", "there is no app in 'json'")],
)
def test_an_app_that_is_missing_is_named(app: str, sentence: str) -> None:
    found = typed("-A", app, "jobs", "list")
    assert sentence in said(found)
    assert found.exit_code == 2  # typed wrongly


def test_an_app_that_cannot_be_imported_shows_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_app.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = typed("-A", "broken_app", "jobs", "list")
    assert "No module named 'no_such_library'" in said(found)
    assert "broken_app.py" in said(found)


def test_its_version_is_the_platforms() -> None:
    assert said(typed("--version")) == f"celeriac {__version__}\n"
