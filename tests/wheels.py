"""The wheel of this checkout."""

from __future__ import annotations

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


def build(home: Path) -> Path:
    """The wheel, built below ``home``."""
    source = copied(home)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    subprocess.run([*pip, "-w", str(home), str(source)], check=True, capture_output=True, timeout=300)
    (found,) = home.glob("*.whl")
    return found
