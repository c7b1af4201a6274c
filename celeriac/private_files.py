"""Make files and directories that only their owner can read, because they hold arguments of jobs."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

#: The modes of a directory and of a file.
DIRECTORY, FILE = 0o700, 0o600


def make_directory(path: Path) -> None:
    """Make ``path`` and its missing parents. Existing directories keep their modes.

    ``mkdir(parents=True)`` gives its mode to the last directory only: everybody could read the parents.
    """
    missing = list(takewhile(lambda each: not each.exists(), (path, *path.parents)))
    for each in reversed(missing):
        each.mkdir(mode=DIRECTORY, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file, unless it exists or its directory cannot be used."""
    with suppress(FileExistsError, FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE))
