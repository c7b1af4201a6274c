"""A progress bar for what takes long, on the standard error; nothing where nobody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def advancing(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows how far ``what`` is; yields the function that is told how many are done."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        step = progress.add_task(what, total=total)
        yield lambda done: progress.update(step, completed=done)
