"""What jobs really did, as they wrote it into a file themselves: independent of broker and ledger."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START = "start"
END = "end"


@dataclass(frozen=True)
class Mark:
    """One line of the file."""

    job_id: str
    attempt: int
    event: str
    pid: int
    at: float  # seconds of the epoch, on the clock of the process that wrote it


def mark(path: str | Path, job_id: str, attempt: int, event: str) -> None:
    """Append one line in a single write, so that neither a neighbour nor SIGKILL can tear it."""
    line = f"{job_id} {attempt} {event} {os.getpid()} {time.time():.6f}\n".encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        written = os.write(descriptor, line)
    finally:
        os.close(descriptor)
    if written != len(line):
        raise OSError(f"{path}: only {written} of {len(line)} bytes were written")


class Witness:
    """The reader of one such file; every question reads it anew."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)

    def marks(self) -> list[Mark]:
        """All lines in the order in which they were written."""
        return list(self._read())

    def starts(self) -> Counter[str]:
        """How often each job began, by job id."""
        return self.count(START)

    def ends(self) -> Counter[str]:
        """How often each job came to its end, by job id."""
        return self.count(END)

    def count(self, event: str) -> Counter[str]:
        return Counter(mark.job_id for mark in self.marks() if mark.event == event)

    def doubled(self) -> dict[str, int]:
        """The jobs that came to their end more than once, and how often."""
        return {job_id: times for job_id, times in self.ends().items() if times > 1}

    def unfinished(self) -> set[str]:
        """The jobs that began more often than they came to an end."""
        ends = self.ends()
        return {job_id for job_id, times in self.starts().items() if times > ends[job_id]}

    def _read(self) -> Iterator[Mark]:
        try:
            text = Path(self.path).read_text()
        except FileNotFoundError:
            return
        for line in text.splitlines():
            job_id, attempt, event, pid, at = line.split(" ")
            yield Mark(job_id, int(attempt), event, int(pid), float(at))
