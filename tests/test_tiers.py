"""What ``make test`` leaves to ``make test-all`` is there, and goes by the rules."""

from __future__ import annotations

import re

import pytest

from tests.tiers import FILES, ONE_DATABASE, OTHER_PLACES, TESTS, TESTS_FOLDER, is_thorough
from tests.workers import ROOT


def test_what_is_named_is_there() -> None:
    places = [place for places in FILES.values() for place in places]
    places += [f"integration/test_{subject}.py" for subject in ONE_DATABASE]
    assert [place for place in places if not (TESTS_FOLDER / place).exists()] == []
    files = [TESTS_FOLDER / "acceptance/test_outcomes.py", *TESTS_FOLDER.rglob("test_*.py")]
    known = set(re.findall(r"def (test_\w+)", "\n".join(file.read_text() for file in files)))
    assert TESTS - known == set()


def test_what_has_one_database_in_the_first_run_is_parametrised_by_it() -> None:
    for subject in ONE_DATABASE:
        text = (TESTS_FOLDER / f"integration/test_{subject}.py").read_text()
        assert "database_url" in text, subject


@pytest.mark.parametrize(
    ("place", "name", "thorough"),
    [
        ("integration/test_ledger.py", "test_a_claim[postgresql]", False),
        ("integration/test_door.py", "test_a_call[postgresql-high]", True),
        ("integration/test_door.py", "test_a_call[sqlite-high]", False),
        ("integration/test_door.py", "test_without_parameters", False),
        ("acceptance/test_outcomes.py", f"test_everywhere[{OTHER_PLACES[0]}-a job]", True),
        ("acceptance/test_outcomes.py", "test_everywhere[burst-postgresql-a job]", False),
        ("acceptance/faults/test_effects.py", "test_it", True),
        ("acceptance/test_outcomes.py", "test_everywhere[prefork-postgresql-a job]", True),
        ("acceptance/test_shutdown.py", "test_it", False),
        ("acceptance/test_shutdown.py", "test_it[burst]", False),
        ("acceptance/test_shutdown.py", "test_it[prefork]", True),
        ("acceptance/test_canvas.py", "test_it[sqlite]", True),
        ("acceptance/test_canvas.py", "test_it[postgresql]", False),
        ("contrib/test_django.py", "test_it[sqlite]", True),
        ("test_forked.py", "test_it", True),
    ],
)
def test_a_test_is_thorough_by_the_rules(place: str, name: str, thorough: bool) -> None:
    assert is_thorough(place, name) is thorough


def test_ci_runs_all() -> None:
    run = (ROOT / ".ci/run").read_text()
    assert "\ntested 12 1800 test-thorough\n" in run
    assert run.endswith("\ntested 3 0 test\n")
