"""The wheel beside what public projects pin: uv resolves both together. It asks the package index."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wheels import build

HERE = Path(__file__).resolve().parent
PINS = sorted(HERE.glob("*.txt"))

#: What uv says when nobody answers, or not in time.
UNREACHABLE = re.compile(r"failed to fetch|error sending request|connect|dns error|timed out", re.IGNORECASE)

pytestmark = pytest.mark.index


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.getbasetemp())


def resolve(requirements: str) -> subprocess.CompletedProcess[str]:
    """What uv says of requirements; fails when the index is not to be had, which says nothing of them."""
    argv = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-annotate", "--no-header"]
    argv += ["--python-version", "3.12", "--only-binary", "celeriac", "-"]
    asked = subprocess.run(argv, input=requirements, capture_output=True, text=True, timeout=500)
    if asked.returncode and UNREACHABLE.search(asked.stderr):
        pytest.fail(f"the package index cannot be reached, and this test asks it:\n{asked.stderr}", False)
    return asked


def test_all_seven_are_here() -> None:
    assert len(PINS) == 7


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.stem)
def test_the_wheel_resolves_beside_the_pins_of(path: Path, wheel: Path) -> None:
    asked = resolve(f"celeriac @ {wheel.as_uri()}\n{path.read_text()}")
    assert asked.returncode == 0, f"{path.read_text().splitlines()[0]}\n{asked.stderr}"
    assert f"celeriac @ {wheel.as_uri()}" in asked.stdout


def test_what_cannot_fit_is_refused(wheel: Path) -> None:
    asked = resolve(f"celeriac @ {wheel.as_uri()}\ncelery==5.4.0\n")
    assert asked.returncode != 0
    assert "celery>=5.5" in asked.stderr
