"""Tests in forked processes: each runs once, in the order of its file, whatever becomes of a process."""

from __future__ import annotations

from pathlib import Path

from tests.inner_run import outcomes

FORKED = ("-p", "tests.forked", "--processes")

_NOTED = """
import os
import pathlib
import pytest

def note(text):
    with (pathlib.Path(__file__).parent / "noted").open("a") as file:
        file.write(text + "\\n")

@pytest.fixture(scope="session")
def server():
    note("server begins")
    yield
    note("server ends")

@pytest.fixture(scope="module")
def shared():
    note("module begins")
    yield
    note("module ends")
"""

_TWO = """
def test_the_first(server, shared): pass
def test_the_second(server, shared): pass
"""

_MEETING = """
import pathlib
import time

HERE = pathlib.Path(__file__)

def test_that_meets_the_other_file():
    HERE.with_suffix(".here").touch()
    until = time.monotonic() + 60
    while len(list(HERE.parent.glob("*.here"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
"""

_DYING = """
import os

def test_before(): pass
def test_that_dies(): os._exit(3)
def test_after(): pass
"""

_FAILING = """
def test_that_fails():
    print("what it printed")
    assert False

def test_after(): pass
"""


def test_what_tests_share_is_made_once_for_a_file_and_for_a_process(tmp_path: Path) -> None:
    (tmp_path / "test_more.py").write_text(_TWO)
    outcomes(tmp_path, _TWO, *FORKED, "1", conftest=_NOTED)
    once = ["module begins", "module ends"]
    assert (tmp_path / "noted").read_text().splitlines() == ["server begins", *once, *once, "server ends"]


def test_files_run_at_the_same_time(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(_MEETING)
    assert outcomes(tmp_path, _MEETING, *FORKED, "2") == {"that_meets_the_other_file": {"PASSED"}}


def test_a_process_that_dies_is_one_failed_test(tmp_path: Path) -> None:
    assert outcomes(tmp_path, _DYING, *FORKED, "2") == {
        "before": {"PASSED"},
        "that_dies": {"FAILED"},
        "after": {"PASSED"},
    }


def test_a_failure_is_told_with_what_was_printed_and_may_end_the_run(tmp_path: Path) -> None:
    found = outcomes(tmp_path, _FAILING, *FORKED, "1", "-x", conftest=_TELLING)
    assert found == {"that_fails": {"FAILED"}}
    assert (tmp_path / "told").read_text() == "what it printed\n"


_TELLING = """
import pathlib

def pytest_terminal_summary(terminalreporter):
    (failed,) = terminalreporter.stats["failed"]
    (pathlib.Path(__file__).parent / "told").write_text(failed.capstdout)
"""
