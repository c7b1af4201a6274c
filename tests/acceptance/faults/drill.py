"""What a drill is: jobs that witness themselves, a fault, and afterwards the ledger against the witness.

    jobs = drill.enqueue(200)         accepted, each leaves its marks
    with drill.load(): …              more of them all the while
    drill.hit(worker)                 what this one holds may be begun once more
    drill.over()                      the fault has ended: from here recovery is counted
    drill.ends(recovery=20)           all are terminal, nothing is lost, nothing contradicts

Nothing here knows which fault it is.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from celeriac.errors import EnqueueUncertain, LedgerUnavailable
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.ledger.schema.models import JOBS
from tests.acceptance.faults.house import House
from tests.acceptance.faults.report import Line
from tests.processes import living, processes
from tests.support import wait_until, waited_for_a_cpu
from tests.witness import END, START, Mark, Witness
from tests.workers import Worker

DEADLINE = 60.0  # seconds after the fault: what is not terminal then is lost
SETTLE = 10.0  # seconds after the last job in which nothing may change any more
RECOVERY = 20.0  # seconds after the fault's end until everything goes on
RESUMED = 5.0  # seconds after a broker's restart until jobs begin again
LONGEST_CALL = 2.0  # seconds that .delay() may take


@dataclass(frozen=True)
class Row:
    """What the ledger says of a job."""

    state: JobState
    tries: int
    failure: str | None
    root: str | None  # of its workflow; null for a job that came alone


@dataclass
class Producer:
    """What one who enqueues has seen."""

    accepted: list[str] = field(default_factory=list)
    uncertain: list[str] = field(default_factory=list)
    refused: int = 0
    longest: float = 0.0  # seconds that a call took
    errors: list[BaseException] = field(default_factory=list)

    def call(self, enqueue: Callable[[], Any]) -> list[str]:
        """Enqueue a job; its id, if it was accepted. In any thread."""
        began, waited = time.monotonic(), waited_for_a_cpu()
        ids: list[str] = []
        try:
            ids.append(str(enqueue().id))
            self.accepted += ids
        except Exception as exc:
            self._note(exc)
        took = time.monotonic() - began - (waited_for_a_cpu() - waited)
        self.longest = max(self.longest, took)
        return ids

    def _note(self, error: BaseException) -> None:
        if isinstance(error, LedgerUnavailable):
            self.refused += 1
        elif isinstance(error, EnqueueUncertain):
            self.uncertain.append(error.args[0])
        else:  # told by the drill's end, whatever it is
            self.errors.append(error)


class Drill:
    """One fault.

    Args:
        settle: seconds; see ``SETTLE``.
        record: takes the line of the table.
    """

    def __init__(
        self, fault: str, house: House, path: Path, *, settle: float, record: Callable[[Line], None]
    ) -> None:
        self.fault = fault
        self.patience = 1  # how many times as long as promised it may take; more only beside other tests
        self.house = house
        self.witness = Witness(path)
        self.producer = Producer()
        self.cancelled: set[str] = set()
        self.failing: set[str] = set()  # jobs that are to end as dead letters
        self.clock = 0.0  # seconds that the workers' clocks are ahead
        self.clocks: dict[int, float] = {}  # the same, of children with a clock of their own
        self.set_back = 0.0  # seconds that the database's clock was set back
        self._middle: set[str] = set()
        self._settle = settle
        self._record = record
        self._began = time.time()
        self._over = 0.0
        self._before = 0
        self._any = False

    # ---- jobs

    def enqueue(self, count: int, *, seconds: float = 0.02, **options: Any) -> list[str]:
        """Enqueue that many; the ids of those that were accepted."""
        calls = (self.producer.call(lambda: self._send(seconds, options)) for _ in range(count))
        return [id for ids in calls for id in ids]

    @contextmanager
    def load(self, *, rate: float = 40.0, seconds: float = 0.02, lasting: float = 0.5) -> Iterator[None]:
        """Enqueue ``rate`` jobs a second while the block runs, and for ``lasting`` seconds after it."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(1 / rate):
                self.producer.call(lambda: self._send(seconds, {}))

        thread = threading.Thread(target=run, name="load", daemon=True)
        thread.start()
        try:
            yield
            stop.wait(lasting)
        finally:
            stop.set()
            thread.join(30)

    def accept(self, ids: Iterable[str]) -> None:
        """Count jobs that somebody else enqueued."""
        self.producer.accepted += ids

    def _send(self, seconds: float, options: dict[str, Any]) -> Any:
        task = self.house.app.tasks["tests.witness"]
        return task.apply_async(args=(self.witness.path, seconds), **options)

    # ---- the fault

    def flows(self, count: int = 20) -> None:
        """Wait until that many jobs of this drill have ended, and some are still to come."""
        wait_until(
            lambda: sum(self.witness.ends().values()) >= count, within=30, saying=f"{count} jobs have ended"
        )

    def begun(self, count: int, *, pids: Sequence[int] | None = None) -> list[Mark]:
        """Wait until that many jobs run at once (in ``pids``); their first marks."""

        def found() -> list[Mark]:
            marks = self.running(pids)
            return marks if len(marks) >= count else []

        return wait_until(found, within=30, saying=f"{count} jobs run")

    def running(self, pids: Sequence[int] | None = None) -> list[Mark]:
        """The starts of the jobs that run in a living process (one of ``pids``)."""
        marks = self.witness.marks()
        ended = {(m.job_id, m.pid) for m in marks if m.event == END}
        starts = [m for m in marks if m.event == START and (m.job_id, m.pid) not in ended]
        alive = living(m.pid for m in starts)
        return [m for m in starts if m.pid in alive and (pids is None or m.pid in pids)]

    def hit(self, *workers: Worker) -> set[str]:
        """These died or froze just now: what the ledger says they hold may be begun once more."""
        held = {job for worker in workers for job in self.held_by(self.house.worker_id(worker))}
        self._middle |= held
        return held

    def held_by(self, worker: UUID) -> set[str]:
        query = select(JOBS.c.id).where(JOBS.c.worker_id == worker)
        with self.house.database.reading() as connection:
            return {str(job) for job in connection.execute(query).scalars()}

    def kill_child(self, pid: int) -> None:
        """SIGKILL a child; what it runs may be begun once more."""
        os.kill(pid, signal.SIGSTOP)  # so that it takes nothing else between looking and killing
        wait_until(lambda: processes()[pid].state in "Tt", within=5, saying=f"child {pid} is stopped")
        self.may_run_again(m.job_id for m in self.running([pid]))
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not living([pid]), within=5, saying=f"child {pid} is gone")

    def may_run_again(self, jobs: Iterable[str]) -> None:
        """The children that ran these died just now."""
        self._middle |= set(jobs)

    def allow_all_again(self) -> None:
        """Everything may be begun once more for each death: only what is done is compared."""
        self._any = True

    def over(self) -> None:
        """The fault has ended."""
        self._over = time.time()
        self._before = len(self.producer.accepted)

    # ---- the end

    def ends(
        self,
        *,
        recovery: float = RECOVERY,
        resumed: float | None = None,
        refusals: bool = False,
        slow: bool = False,
        uncounted: bool = False,
    ) -> Line:
        """Wait until every job is terminal; compare; write the line; fail when anything is wrong.

        Args:
            recovery: seconds; see ``Line.recovery``.
            resumed: seconds; see ``Line.resumed``.
            refusals: whether a producer may have been refused: the database itself was away.
            slow: whether a call may take longer than promised: the machine itself stood still.
            uncounted: whether an attempt that had begun may have been given back uncounted.
        """
        if not self._over:
            self.over()
        in_time = self._all_end()
        line = self._compare(in_time, refusals=refusals, slow=slow, uncounted=uncounted)
        self._record(line)
        assert (line.lost, line.doubled, line.wrong) == (0, 0, ()), line
        assert (line.recovery or 0.0) <= recovery * self.patience, line
        if resumed is not None:
            assert line.resumed is not None, line
            assert line.resumed <= resumed * self.patience, line
        return line

    def rows(self) -> dict[str, Row]:
        """What the ledger says of every job of this drill; empty when it does not answer."""
        c = JOBS.c
        query = select(c.id, c.state, c.try_count, c.failure_info, c.root_id).where(
            c.queued >= _instant(self._began - self.set_back - 1)
        )
        try:
            with self.house.database.reading() as connection:
                found = connection.execute(query).all()
        except SQLAlchemyError:
            return {}
        return {
            str(row.id): Row(
                JobState(row.state), row.try_count, row.failure_info, row.root_id and str(row.root_id)
            )
            for row in found
        }

    def start_lags(self) -> list[float]:
        """How many seconds after it was due each job was last claimed, on the database's clock."""
        c = JOBS.c
        query = select(c.started, c.next_attempt_after)
        with self.house.database.reading() as connection:
            return [(row[0] - row[1]).total_seconds() for row in connection.execute(query)]

    def due(self) -> dict[str, float]:
        """When each job was due, as seconds of the epoch on the database's clock."""
        query = select(JOBS.c.id, JOBS.c.next_attempt_after)
        with self.house.database.reading() as connection:
            return {str(row.id): row.next_attempt_after.timestamp() for row in connection.execute(query)}

    def _all_end(self) -> bool:
        deadline = self._over + DEADLINE - time.time()
        try:
            wait_until(lambda: not self._open(), within=max(deadline, 1), saying="every job is terminal")
        except AssertionError:
            return False
        self._stays()
        return True

    def _open(self) -> list[str]:
        rows = self.rows()
        if not rows:
            return ["no answer"]
        wanted = [*self.producer.accepted, *self._uncertain_or_follows(rows)]
        return [job for job in wanted if job not in rows or rows[job].state not in TERMINAL]

    def _uncertain_or_follows(self, rows: dict[str, Row]) -> Iterator[str]:
        """The jobs that are in the ledger beside those that the producer was told of.

        Accepted perhaps, or enqueued by one that was: a member, a replacement, the next of a chain.
        """
        known = {*self.producer.accepted, *self.producer.uncertain}
        yield from (job for job in self.producer.uncertain if job in rows)
        yield from (job for job, row in rows.items() if job not in known and row.root in known)

    def _stays(self) -> None:
        """See that what has ended stays as it is: a late duplicate needs time to arrive."""
        before = self.rows()
        end = time.monotonic() + self._settle
        wait_until(
            lambda: time.monotonic() >= end or self.rows() != before,
            within=self._settle + 30,
            saying="the ledger is at rest",
        )

    def _compare(self, in_time: bool, *, refusals: bool, slow: bool, uncounted: bool) -> Line:
        rows, marks, jobs = self.rows(), self.witness.marks(), self.producer.accepted
        starts, ends = self.witness.starts(), self.witness.ends()
        expected = [job for job in jobs if job not in self.cancelled | self.failing]
        doubled = [job for job in starts if starts[job] > self._allowed(job, rows)]
        wrong = [*self._contradictions(rows, starts, ends, uncounted=uncounted)]
        if not in_time:
            wrong.append(f"{len(self._open())} not terminal {DEADLINE:g} s after the fault")
        if self.producer.refused and not refusals:
            wrong.append(f"{self.producer.refused} refused")
        if self.producer.longest > LONGEST_CALL + 0.2 and not slow:
            wrong.append(f"a call took {self.producer.longest:.1f} s")
        wrong += [f"a call raised {error!r}" for error in self.producer.errors[:1]]
        return Line(
            fault=self.fault,
            jobs=len(jobs),
            lost=sum(1 for job in expected if not ends[job]),
            doubled=len(doubled),
            again=sum(1 for job in starts if starts[job] > 1 and job not in doubled),
            recovery=self._recovery(marks) if in_time else None,
            resumed=self._resumed(marks),
            wrong=tuple(wrong),
        )

    def _contradictions(
        self, rows: dict[str, Row], starts: Any, ends: Any, *, uncounted: bool
    ) -> Iterator[str]:
        known = {*self.producer.accepted, *self.producer.uncertain, *self._uncertain_or_follows(rows)}
        found: dict[str, list[str]] = {
            "missing": [job for job in self.producer.accepted if job not in rows],
            "run, never enqueued": [job for job in starts if job not in known],
            "in the ledger, never enqueued": [job for job in rows if job not in known],
            "completed, not done": [
                job for job, row in rows.items() if row.state is JobState.COMPLETED and not ends[job]
            ],
            "cancelled, yet run": [job for job in self.cancelled if starts[job]],
            "cancelled, not so in the ledger": [
                job for job in self.cancelled if rows[job].state is not JobState.CANCELLED
            ],
            "ended otherwise": [
                f"{job} {row}"
                for job, row in rows.items()
                if row.state in TERMINAL and row.state is not self._wanted(job)
            ],
            "begun more often than counted": [
                job for job, row in rows.items() if starts[job] > row.tries and not uncounted
            ],
        }
        for saying, jobs in found.items():
            if jobs:
                yield f"{len(jobs)} {saying}, such as {jobs[0]}"

    def _allowed(self, job: str, rows: dict[str, Row]) -> int:
        """How often a job may have begun."""
        if self._any or job in self.failing:
            return rows[job].tries if job in rows else 0
        return 2 if job in self._middle else 1

    def _wanted(self, job: str) -> JobState:
        if job in self.cancelled:
            return JobState.CANCELLED
        return JobState.FAILED if job in self.failing else JobState.COMPLETED

    def since_over(self, mark: Mark) -> float:
        """Seconds from the end of the fault; negative before it."""
        return self.at(mark) - self._over

    def at(self, mark: Mark) -> float:
        """When a mark was made, on this process's clock."""
        return mark.at - self.clocks.get(mark.pid, self.clock)

    def _resumed(self, marks: Sequence[Mark]) -> float | None:
        return min((at for at in map(self.since_over, marks) if at > 0), default=None)

    def _recovery(self, marks: Sequence[Mark]) -> float:
        before = set(self.producer.accepted[: self._before])
        ends = [self.since_over(m) for m in marks if m.event == END and m.job_id in before]
        return max(0.0, *ends) if ends else 0.0


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
