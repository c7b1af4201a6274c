"""The Python environment of each side: the project's own, or one that is made for it."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.errors import NotMeasured
from benchmarks.side_list import Entry

ROOT = Path(__file__).resolve().parent.parent
_HOME = ROOT / ".venv-bench"


def interpreter(entry: Entry) -> Path:
    """The interpreter that runs ``entry``, once ``ready`` was called for it."""
    return _HOME / entry.name / "bin" / "python" if entry.packages else Path(sys.executable)


def home_of(entry: Entry) -> Path:
    """The folder of its own."""
    return _HOME / entry.name


def ready(entry: Entry) -> None:
    """Make the environment of ``entry`` unless it is there with the packages that it names now.

    Raises:
        NotMeasured: the packages cannot be installed.
    """
    named = entry.packages or entry.npm
    if not named:
        return
    home = home_of(entry)
    wanted, stamp = "\n".join(named), home / "packages.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if entry.packages:
        venv.create(home, with_pip=True, clear=True)
    home.mkdir(parents=True, exist_ok=True)
    (_HOME / ".gitignore").write_text("*\n")
    _install(entry, home)
    stamp.write_text(wanted)  # last, so that a half-made environment is made again


def _install(entry: Entry, home: Path) -> None:
    if entry.packages:
        argv = [str(interpreter(entry)), "-m", "pip", "install", "--quiet", *entry.packages]
    else:
        argv = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(home), *entry.npm]
    try:
        made = subprocess.run(argv, capture_output=True, text=True)
    except FileNotFoundError:
        raise NotMeasured(f"{entry.title}: there is no {argv[0]} on this machine") from None
    if made.returncode:
        raise NotMeasured(f"{entry.title}: its packages cannot be installed\n{made.stderr.strip()}")
