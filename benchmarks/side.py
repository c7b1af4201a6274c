"""A system under measurement, in an interpreter of its own: what the harness may ask it to do.

Standard library only: it runs in every side's environment. ``python -m benchmarks.sides.NAME COMMAND …``
answers on the last line of stdout, in JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Side:
    """What a file of ``benchmarks/sides`` defines.

    The broker is CELERY_BROKER_URL, the database, if the catalogue asks for one, DATABASE_URL.
    """

    noop: Callable[[], object]  # enqueues a job that calls witness.done() and has no result
    timed: Callable[[float], object]  # enqueues a job that calls witness.started() with that number
    delayed: Callable[[float, float], object]  # as timed, to be run that many seconds later
    worker: Callable[[str, int], Sequence[str]]  # argv of a worker with that pool and so many jobs at a time
    distributions: tuple[str, ...]  # packages whose versions matter
    many: Callable[[int, float], object] | None = None  # so many no-op jobs at a time, due in seconds
    prepare: Callable[[], object] = _nothing  # makes the tables in an empty database

    def enqueue(self, n: int) -> None:
        """Enqueue ``n`` no-op jobs, one by one."""
        for _ in range(n):
            self.noop()

    def delay(self, n: int, warm: int) -> list[float]:
        """Microseconds of each of ``n`` calls, after ``warm`` others that connect and prepare."""
        self.enqueue(warm)
        times = []
        for _ in range(n):
            begin = time.perf_counter()
            self.noop()
            times.append(round((time.perf_counter() - begin) * 1e6, 1))
        return times

    def bulk(self, n: int, delay: float) -> float:
        """Seconds that ``n`` jobs take, due in ``delay`` seconds, by the best way that the side has."""
        many = self.many or (lambda n, delay: self.enqueue(n))
        many(100, delay)  # which connects and prepares
        begin = time.perf_counter()
        many(n, delay)
        return time.perf_counter() - begin

    def pace(self, n: int, rate: int) -> None:
        """Enqueue ``n`` timed jobs, ``rate`` a second; one that is late does not delay the others."""
        begin = time.monotonic()
        for number in range(n):
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))
            self.timed(time.monotonic())

    def delay_by(self, n: int, rate: int, shortest: float, longest: float) -> None:
        """Enqueue ``n`` timed jobs, ``rate`` a second, with delays in seconds; each names when it is due."""
        begin = time.monotonic()
        for number in range(n):
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))
            seconds = shortest + (longest - shortest) * (number % 97) / 97
            self.delayed(time.monotonic() + seconds, seconds)

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in self.distributions}

    def become_worker(self, pool: str, concurrency: int) -> None:
        """Replace this process with a worker: what the harness started is then its main process."""
        argv = [str(word) for word in self.worker(pool, concurrency)]
        os.execv(argv[0], argv)


def main(side: Side) -> None:
    """Do what the command line asks."""
    command, *words = sys.argv[1:]
    commands: dict[str, Callable[..., Any]] = {
        "prepare": side.prepare,
        "versions": side.versions,
        "enqueue": lambda n: side.enqueue(int(n)),
        "delay": lambda n, warm: side.delay(int(n), int(warm)),
        "bulk": lambda n, delay: side.bulk(int(n), float(delay)),
        "pace": lambda n, rate: side.pace(int(n), int(rate)),
        "delayed": lambda n, rate, *bounds: side.delay_by(int(n), int(rate), *map(float, bounds)),
        "worker": lambda pool, concurrency: side.become_worker(pool, int(concurrency)),
    }
    answer = commands[command](*words)
    print(json.dumps(answer if command in ("versions", "delay", "bulk") else None))
