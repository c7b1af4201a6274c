"""The file to which the jobs of every side write that they ran: a count that no side can influence.

Standard library only: it runs in every side's environment.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

#: The variable with the directory of the files.
VARIABLE = "BENCHMARK_WITNESS"

_DONE = "done"
_STARTED = "started"


def done(mark: bytes = b".") -> None:
    """All that a no-op job does: one byte, appended in one write."""
    os.write(_file(_DONE), mark)


def started(sent: float) -> None:
    """All that a timed job does: one line with the seconds since ``sent``, by ``time.monotonic``."""
    os.write(_file(_STARTED), b"%.6f\n" % (time.monotonic() - sent))


@cache  # one descriptor for each process that runs jobs, opened by its first
def _file(name: str) -> int:
    path = Path(os.environ[VARIABLE]) / name
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


class Witness:
    """The reader of such a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def done(self) -> int:
        """How many no-op jobs ran."""
        path = self.directory / _DONE
        return path.stat().st_size if path.exists() else 0

    def marks(self) -> str:
        """The bytes that the jobs left, in the order in which they left them."""
        path = self.directory / _DONE
        return path.read_text() if path.exists() else ""

    def waits(self) -> list[float]:
        """Seconds from the call to the start of each timed job, in the order in which they started."""
        path = self.directory / _STARTED
        return [float(line) for line in path.read_text().splitlines()] if path.exists() else []
