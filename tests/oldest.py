"""A pytest plugin of `make test-oldest`: it holds the versions, and tells what is left out with them.

Without it nothing is left out: a test whose package is missing fails.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent


class LeftOut(NamedTuple):
    """A package that has no place beside the lowest versions, and why."""

    package: str
    why: str


#: The files of tests/unit and tests/integration that do not run with the lowest versions.
LEFT_OUT = {
    "tests/integration/test_api_fuzzing.py": LeftOut("schemathesis", "it wants rich 13.9.4 or newer"),
}


def requirements(text: str) -> list[Requirement]:
    """Those of a list in setup.cfg or in a file of constraints, without its comments."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def pins() -> dict[str, Version]:
    """The lowest versions, from constraints-oldest.txt."""
    found = {}
    for each in requirements((ROOT / "constraints-oldest.txt").read_text()):
        (pin,) = each.specifier
        assert pin.operator == "=="
        found[each.name.lower()] = Version(pin.version)
    return found


def _installed(package: str) -> Version | None:
    try:
        return Version(version(package))
    except PackageNotFoundError:
        return None


def pytest_configure() -> None:
    wrong = [
        f"{name}: wanted {wanted}, found {found}"
        for name, wanted in pins().items()
        if (found := _installed(name)) != wanted
    ]
    wrong += [
        f"{path}: it is left out since {each.package} is missing, which is installed"
        for path, each in LEFT_OUT.items()
        if _installed(each.package) is not None
    ]
    if wrong:
        raise pytest.UsageError("this is not the environment of the lowest versions\n" + "\n".join(wrong))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path in {ROOT / path for path in LEFT_OUT} else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    asked = [(config.invocation_params.dir / arg.partition("::")[0]).resolve() for arg in config.args]
    for path, each in LEFT_OUT.items():
        if any((ROOT / path).is_relative_to(place) for place in asked):
            terminalreporter.write_line(f"left out: {path}, which needs {each.package}: {each.why}")
