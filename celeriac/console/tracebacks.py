"""A traceback in parts: the task's own frames, and those of the platform and of Celery, which are folded."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FRAME = re.compile(r'^  File "([^"]*)", line \d+')
_PLATFORM = re.compile(r"[/\\](celeriac|celery|billiard|kombu|redbeat|vine)[/\\]")
_LONGEST = 100_000  # characters; the end is what says most


@dataclass(frozen=True, slots=True)
class Part:
    text: str
    own: bool  # of the task's code, or no frame at all
    frames: int


def parts(traceback: str) -> list[Part]:
    """The traceback in order.

    >>> trace = 'Traceback:\\n  File "/site/celery/app.py", line 1, in f\\n    g()\\nKeyError: 1'
    >>> [part.own for part in parts(trace)]
    [True, False, True]
    """
    found: list[Part] = []
    for text, own, frames in _blocks(traceback[-_LONGEST:]):
        if found and found[-1].own == own:
            found[-1] = Part(f"{found[-1].text}\n{text}", own, found[-1].frames + frames)
        else:
            found.append(Part(text, own, frames))
    return found


def _blocks(traceback: str) -> list[tuple[str, bool, int]]:
    """Each frame with its lines, and what stands between frames."""
    blocks: list[tuple[list[str], bool, int]] = []
    for line in traceback.rstrip().split("\n"):
        if found := _FRAME.match(line):
            blocks.append(([line], not _PLATFORM.search(found[1]), 1))
        elif blocks and (not blocks[-1][2] or line.startswith("    ")):
            blocks[-1][0].append(line)
        else:
            blocks.append(([line], True, 0))
    return [("\n".join(lines), own, frames) for lines, own, frames in blocks]
