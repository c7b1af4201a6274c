"""A system under measurement, in an interpreter of its own: what the harness may ask it to do.

Standard library only: it runs in every side's environment. ``python -m benchmarks.sides.NAME COMMAND …``
answers on the last line of stdout, in JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any


def _nothing() -> None:
    pass


def libpq(url: str) -> str:
    """The address of a database as everybody but SQLAlchemy writes it."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@dataclass(frozen=True, kw_only=True)
class Side:
    """What a file of ``benchmarks/sides`` defines.

    The broker is CELERY_BROKER_URL, the database, if the catalogue asks for one, DATABASE_URL.
    """

    noop: Callable[[], object]  # enqueues a job that calls witness.done() and has no result
    timed: Callable[[float], object]  # enqueues a job that calls witness.started() with that number
    worker: Callable[[str, int], Sequence[str]]  # argv of a worker with that pool and so many jobs at a time
    distributions: tuple[str, ...]  # packages whose versions matter
    delayed: Callable[[float, float], object] | None = None  # as timed, to be run that many seconds later
    work: Callable[[float], object] | None = None  # a job that sleeps so long, then calls done()
    compute: Callable[[float], object] | None = None  # a job that computes so long, then calls done()
    into: Callable[[str], object] | None = None  # into that queue, a job that marks its first letter
    answered: Callable[[], object] | None = None  # enqueues a job that returns a value, and waits for that
    many: Callable[[int], object] | None = None  # so many no-op jobs at a time; None: it has no such way
    many_later: Callable[[int, float], object] | None = None  # as many, due in that many seconds
    prepare: Callable[[], object] = _nothing  # makes the tables in an empty database
    own: Mapping[str, Callable[..., object]] = field(default_factory=dict)  # commands that no other side has

    def enqueue(self, n: int) -> None:
        """Enqueue ``n`` no-op jobs, one by one."""
        for _ in range(n):
            self.noop()

    def enqueue_many(self, n: int) -> None:
        """Enqueue ``n`` no-op jobs by the best way that the side has."""
        (self.many or self.enqueue)(n)

    def working(self, n: int, seconds: float, kind: str) -> None:
        """Enqueue ``n`` jobs that sleep, or that compute: the field of that name."""
        job: Callable[[float], object] = getattr(self, kind)
        for _ in range(n):
            job(seconds)

    def spread(self, n: int, *queues: str) -> None:
        """Enqueue ``n`` jobs, into ``queues`` in turn."""
        assert self.into is not None
        for number in range(n):
            self.into(queues[number % len(queues)])

    def delay(self, n: int, warm: int) -> list[float]:
        """Microseconds of each of ``n`` calls, after ``warm`` others that connect and prepare."""
        return _timed(self.noop, n, warm)

    def delay_in_threads(self, n: int, threads: int) -> float:
        """Seconds that ``n`` calls take that so many threads make at once, after others that connect."""
        from concurrent.futures import ThreadPoolExecutor  # which most commands do without

        with ThreadPoolExecutor(threads) as pool:
            calls = [partial(self.enqueue, 20), partial(self.enqueue, n // threads)]
            for call in calls:
                begin = time.perf_counter()
                for each in [pool.submit(call) for _ in range(threads)]:
                    each.result()
            return time.perf_counter() - begin

    def round_trips(self, n: int, warm: int) -> list[float]:
        """Microseconds from each of ``n`` calls to its job's value, after ``warm`` others."""
        assert self.answered is not None
        return _timed(self.answered, n, warm)

    def bulk(self, n: int, delay: float) -> float | None:
        """Seconds that ``n`` jobs take by the best way that the side has; None: it cannot delay them."""
        many: Callable[[int], object] = self.enqueue_many
        if delay:
            if self.many_later is None:
                return None
            many = partial(self.many_later, delay=delay)
        many(100)  # which connects and prepares
        begin = time.perf_counter()
        many(n)
        return time.perf_counter() - begin

    def pace(self, n: int, rate: int) -> None:
        """Enqueue ``n`` timed jobs, ``rate`` a second; one that is late does not delay the others."""
        begin = time.monotonic()
        for number in range(n):
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))
            self.timed(time.monotonic())

    def delay_by(self, n: int, rate: int, shortest: float, longest: float) -> None:
        """Enqueue ``n`` timed jobs, ``rate`` a second, with delays in seconds; each names when it is due."""
        assert self.delayed is not None
        begin = time.monotonic()
        for number in range(n):
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))
            seconds = shortest + (longest - shortest) * (number % 97) / 97
            self.delayed(time.monotonic() + seconds, seconds)

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in self.distributions}

    def become_worker(self, pool: str, concurrency: int, *words: str) -> None:
        """Replace this process with a worker: what the harness started is then its main process.

        Args:
            words: further options of its command line.
        """
        argv = [*map(str, self.worker(pool, concurrency)), *words]
        os.execv(argv[0], argv)


def _timed(call: Callable[[], object], n: int, warm: int) -> list[float]:
    for _ in range(warm):
        call()
    times = []
    for _ in range(n):
        begin = time.perf_counter()
        call()
        times.append(round((time.perf_counter() - begin) * 1e6, 1))
    return times


#: Commands whose answer the harness reads.
_ANSWERED = frozenset(
    {"versions", "delay", "delay-in-threads", "round-trips", "bulk", "claim-all", "awaited-calls"}
)


def main(side: Side) -> None:
    """Do what the command line asks."""
    command, *words = sys.argv[1:]
    commands: dict[str, Callable[..., Any]] = {
        "prepare": side.prepare,
        "versions": side.versions,
        "enqueue": lambda n: side.enqueue(int(n)),
        "many": lambda n: side.enqueue_many(int(n)),
        "working": lambda n, seconds, kind: side.working(int(n), float(seconds), kind),
        "spread": lambda n, *queues: side.spread(int(n), *queues),
        "round-trips": lambda n, warm: side.round_trips(int(n), int(warm)),
        "delay": lambda n, warm: side.delay(int(n), int(warm)),
        "delay-in-threads": lambda n, threads: side.delay_in_threads(int(n), int(threads)),
        "bulk": lambda n, delay: side.bulk(int(n), float(delay)),
        "pace": lambda n, rate: side.pace(int(n), int(rate)),
        "delayed": lambda n, rate, *bounds: side.delay_by(int(n), int(rate), *map(float, bounds)),
        "worker": lambda pool, concurrency, *words: side.become_worker(pool, int(concurrency), *words),
        **side.own,
    }
    answer = commands[command](*words)
    print(json.dumps(answer if command in _ANSWERED else None))
