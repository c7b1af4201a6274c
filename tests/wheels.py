"""The wheel of this checkout."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def copied(home: Path) -> Path:
    """A copy of what a wheel is built from, below ``home``: a build leaves traces where it is done."""
    source = home / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "beat_schedule.py", "Makefile"):
        shutil.copy(ROOT / name, source)
    for name in ("celeriac", "app", "tasks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    return source


def build(basetemp: Path) -> Path:
    """The wheel, built once for all processes of a run of pytest.

    Args:
        basetemp: of this process; under xdist, its parent is the same for all.
    """
    home = (basetemp.parent if "PYTEST_XDIST_WORKER" in os.environ else basetemp) / "the-wheel"
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not [*home.glob("*.whl")]:
            _build(home)
    (found,) = home.glob("*.whl")
    return found


def _build(home: Path) -> None:
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    subprocess.run([*pip, "-w", str(home), str(copied(home))], check=True, capture_output=True, timeout=300)
