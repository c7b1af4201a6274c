"""A test that hangs fails alone, wherever it hangs; the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inner_run import outcomes

_HOOKS = """
import time

def pytest_runtest_makereport(item, call):  # longer than the test may take, as on a busy machine
    if item.name == "test_with_a_slow_hook":
        time.sleep(0.5)
"""

_HANGING = """
import time
import pytest
from hypothesis import given, settings, strategies

pytestmark = pytest.mark.timeout(0.4)

def hang():
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.01)

@pytest.fixture
def slow_to_begin():
    hang()

@pytest.fixture
def slow_to_end():
    yield
    hang()

@pytest.fixture(scope="session")
def slow_once(slept=[]):
    if not slept:
        slept.append(1)
        hang()

@pytest.fixture
def cleaned():
    yield
    print("cleaned up")

def test_that_hangs(cleaned):
    hang()

def test_that_is_slow_to_begin(slow_to_begin): pass
def test_that_is_slow_to_end(cleaned, slow_to_end): pass
def test_that_meets_a_slow_server(slow_once): pass

@settings(deadline=None, database=None)
@given(strategies.integers())
def test_with_many_examples(number):
    hang()

def test_with_a_slow_hook(): pass

@pytest.mark.timeout(60)
def test_that_wants_the_slow_server_too(slow_once): pass
"""

_DEAF = """
import ctypes, pytest

@pytest.mark.timeout(0.2)
def test_that_hears_nothing():
    ctypes.PyDLL(None).sleep(60)  # with the interpreter's lock

def test_after_it(): pass
"""


def test_a_timeout_ends_one_test_whatever_it_strikes_in(tmp_path: Path) -> None:
    assert outcomes(tmp_path, _HANGING, conftest=_HOOKS) == {
        "that_hangs": {"FAILED"},
        "that_is_slow_to_begin": {"ERROR"},
        "that_is_slow_to_end": {"PASSED", "ERROR"},
        "that_meets_a_slow_server": {"ERROR"},
        "with_many_examples": {"FAILED"},
        "with_a_slow_hook": {"PASSED"},
        "that_wants_the_slow_server_too": {"PASSED"},
    }


@pytest.mark.parametrize(
    "options", [("-n", "1"), ("-p", "tests.forked", "--processes", "1")], ids=["xdist", "forked"]
)
def test_code_that_hears_no_alarm_costs_its_own_test_alone(tmp_path: Path, options: tuple[str, ...]) -> None:
    found = outcomes(tmp_path, _DEAF, *options)
    assert found == {"that_hears_nothing": {"FAILED"}, "after_it": {"PASSED"}}
