"""Write the lines that services print: to the terminal, with the service's name, or to files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self, TextIO

import click

from celeriac import private_files

#: Writes a line of a service: its name, the line. Called from many threads.
LineWriter = Callable[[str, str], None]

_COLOURS = {
    "valkey": "magenta",
    "worker": "green",
    "beat": "yellow",
    "flower": "blue",
    "console": "blue",
    "up": "cyan",
}
_WIDTH = max(map(len, _COLOURS))


def write_to_terminal(service: str, line: str) -> None:
    """Print a line with its service's name. Click removes colours where there is no terminal."""
    name = click.style(f"{service:<{_WIDTH}} |", fg=_COLOURS.get(service))
    click.echo(f"{name} {line}")


class LogFiles:
    """A ``LineWriter`` with one new file for each service; a context manager that closes the files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._open: dict[str, TextIO] = {}
        self._closing = ExitStack()

    def __call__(self, service: str, line: str) -> None:
        with self._lock:
            if service not in self._open:
                private_files.make_directory(self.directory)
                file = (self.directory / f"{service}.log").open("w", buffering=1)
                self._open[service] = self._closing.enter_context(file)
            self._open[service].write(f"{line}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closing.close()
