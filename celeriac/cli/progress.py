"""A progress bar on the standard error; nothing where that is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def advancing(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar; yield a function to call with the number done."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        step = progress.add_task(what, total=total)
        yield lambda done: progress.update(step, completed=done)
