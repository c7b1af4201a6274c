"""Files and directories that only their owner may read: arguments of jobs are in them."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

#: Of a directory and of a file.
DIRECTORY, FILE = 0o700, 0o600


def make_directory(path: Path) -> None:
    """Make ``path`` and what it lies in, as far as it is missing; what exists is left as it is.

    ``mkdir(parents=True)`` gives its mode to the last one alone: the parents may be read by everybody.
    """
    missing = list(takewhile(lambda each: not each.exists(), (path, *path.parents)))
    for each in reversed(missing):
        each.mkdir(mode=DIRECTORY, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file, unless there is one or no directory for it."""
    with suppress(FileExistsError, FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE))
