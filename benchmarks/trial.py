"""A trial: one side on empty servers. Jobs are enqueued, a worker runs, the witness counts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg

from benchmarks import environments, witness
from benchmarks.errors import NotMeasured
from benchmarks.side_list import Entry
from benchmarks.trial_servers import Stage
from tests.processes import Process, scratch

_PAUSE = 0.005  # seconds between two looks at the witness
_LEAST_RATE = 20  # jobs a second; a slower side gives no figure


@dataclass(frozen=True)
class Moment:
    count: int
    at: float  # by time.monotonic


class Trial:
    """As a context manager: the servers are empty, the side's tables made.

    Args:
        second: a trial beside the current one, whose data stay.
    """

    def __init__(self, entry: Entry, stage: Stage, *, second: bool = False) -> None:
        self.entry = entry
        self.stage = stage
        self._second = second
        self._argv = [str(environments.interpreter(entry)), "-m", entry.module]
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self.environment = (self.stage.beside if self._second else self.stage.cleared)(self.entry)
        self.witness = witness.Witness(Path(self.environment[witness.VARIABLE]))
        if self.entry.recorded:
            self.ask("prepare")
            self.database = self._open.enter_context(self.stage.connect(second=self._second))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    # ---- what the side does

    def ask(self, command: str, *words: object) -> Any:
        """The answer of a process of the side; see ``benchmarks/side.py``."""
        argv = [*self._argv, command, *map(str, words)]
        made = subprocess.run(
            argv, cwd=environments.ROOT, env=self.environment, capture_output=True, text=True
        )
        if made.returncode:
            raise NotMeasured(f"{self.entry.title}: {command} failed\n{_end(made.stderr)}")
        return json.loads(made.stdout.splitlines()[-1])

    def enqueue(self, n: int) -> None:
        """Enqueue ``n`` no-op jobs, in a process that ends then."""
        self.ask("enqueue", n)

    @contextmanager
    def meanwhile(self, command: str, *words: object) -> Iterator[Process]:
        """A process of the side that does ``command`` beside the block; killed when that ends."""
        log = scratch(command) / "log"
        argv = [*self._argv, command, *map(str, words)]
        with Process(argv, log=log, cwd=environments.ROOT, env=self.environment) as process:
            yield process

    @contextmanager
    def worker(
        self, *, pool: str = "prefork", concurrency: int = 2, number: int = 1, words: Sequence[str] = ()
    ) -> Iterator[Process]:
        """A worker, by its main process; stopped in order when the block ends.

        Args:
            number: of workers; more than one are children of the process.
            words: further options of its command line; what is not Celery's has others.
        """
        log = scratch("worker") / "log"
        argv: Sequence[str] = [*self._argv, "worker", pool, str(concurrency), *words]
        if number > 1:
            argv = [sys.executable, "-m", "benchmarks.many_workers", str(number), *argv, "-n", "w{number}@%h"]
        with Process(argv, log=log, cwd=environments.ROOT, env=self.environment) as process:
            yield process
            process.send(signal.SIGTERM)
            try:
                process.wait(20 + 2 * number)
            except AssertionError as exc:
                raise NotMeasured(f"{self.entry.title}: its worker does not stop\n{_end(str(exc))}") from None

    def connect(self) -> psycopg.Connection:
        """A connection of one's own to the trial's database; a context manager."""
        return self.stage.connect(second=self._second)

    # ---- what can be seen of it

    def ran(self, n: int, *, worker: Process) -> Moment:
        """The moment at which the witness has seen ``n`` jobs or more."""
        *_, last = self.watch(self.witness.done, n, worker=worker)
        return last

    def finished(self, n: int, *, worker: Process, recorded: Callable[[], int] | None = None) -> Moment:
        """The moment at which ``n`` jobs are done: the witness has them, and so has the side's record.

        Args:
            recorded: how many are on record as done; None for what the catalogue says.
        """
        moment = self.ran(n, worker=worker)
        if self.entry.recorded:
            *_, moment = self.watch(recorded or self._on_record, n, worker=worker)
        if self.witness.done() > n:
            raise NotMeasured(f"{self.entry.title}: {self.witness.done()} runs of {n} jobs")
        return moment

    def watch(
        self, count: Callable[[], int], n: int, *, worker: Process, patience: float = 60
    ) -> Iterator[Moment]:
        """Look again and again, until ``count`` has reached ``n``; the last look is one that saw it.

        Args:
            patience: seconds beside those that the slowest side would take.

        Raises:
            NotMeasured: the worker ended, or is slower than can be waited for.
        """
        deadline = time.monotonic() + patience + n / _LEAST_RATE
        while True:
            alive = worker.status is None
            moment = Moment(count(), time.monotonic())
            yield moment
            if moment.count >= n:
                return
            if not alive or moment.at > deadline:
                why = "is too slow" if alive else f"ended with {worker.status}"
                done = f"{moment.count} of {n} jobs done"
                raise NotMeasured(f"{self.entry.title}: its worker {why}, {done}\n{worker.tail(20)}")
            time.sleep(_PAUSE)

    def _on_record(self) -> int:
        assert self.entry.recorded is not None
        row = self.database.execute(self.entry.recorded.encode()).fetchone()
        return int(row[0]) if row else 0


def _end(text: str, lines: int = 20) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
