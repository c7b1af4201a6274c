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


def ready(entry: Entry) -> None:
    """Make the environment of ``entry`` unless it is there with the packages that it names now.

    Raises:
        NotMeasured: the packages cannot be installed.
    """
    if not entry.packages:
        return
    home = _HOME / entry.name
    wanted, stamp = "\n".join(entry.packages), home / "packages.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    venv.create(home, with_pip=True, clear=True)
    (_HOME / ".gitignore").write_text("*\n")
    argv = [str(interpreter(entry)), "-m", "pip", "install", "--quiet", *entry.packages]
    made = subprocess.run(argv, capture_output=True, text=True)
    if made.returncode:
        raise NotMeasured(f"{entry.title}: its packages cannot be installed\n{made.stderr.strip()}")
    stamp.write_text(wanted)  # last, so that a half-made environment is made again
