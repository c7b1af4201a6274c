"""The ledger thread of a worker: it gathers deliveries and outcomes, and decides when a turn is taken.

The event loop never waits for the database. It hands deliveries and outcomes to this thread, and gets back
the jobs that were won.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from celeriac.events import Event
from celeriac.ledger.connection.database import UNREACHABLE
from celeriac.ledger.connection.error_kinds import kind, said
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.worker.attempt_report import AttemptReport, Reporting
from celeriac.worker.gate.claim_ahead import ClaimAhead, Rooms
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.lean_job import LeanJob
from celeriac.worker.gate.turn import Turn
from celeriac.worker.gate.turn_input import TurnInput, Unchecked

logger = logging.getLogger(__name__)

#: Seconds, enough for the thread to wake up and run next.
_YIELD = 0.00005

#: A turn takes at most this many outcomes.
_MOST = 500

_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 2.0  # seconds, while the database is away

_TROUBLE = 5.0  # seconds after which failing turns, or one that does not end, make the worker not ready
_LOCKED = 5.0  # seconds that a worker which ends waits for rows that other transactions have locked
_TICK = 0.05


class LedgerThread:
    """One per worker main process.

    Args:
        book: the claim book of ``turn``.
        concurrency: how many jobs the pool runs at once.
        pool_queues: whether the pool accepts more jobs than that without making the caller wait.
        bundles: whether the pool gives its children jobs in bundles.
        places: how many coroutines the pool runs beside what its children are at.
    """

    def __init__(
        self,
        turn: Turn,
        *,
        book: ClaimBook,
        concurrency: Callable[[], int],
        pool_queues: Callable[[], bool],
        bundles: Callable[[], bool] = lambda: False,
        places: Callable[[], int] = lambda: 0,
    ) -> None:
        self._turn = turn
        self._places = places
        self._book = book
        self._concurrency = concurrency
        self._pool_queues = pool_queues
        self._claim_ahead = ClaimAhead(bundles)
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._work = TurnInput()
        self._closing = threading.Event()
        self._claiming = True
        self._closed_at = 0.0
        self._ended_by: str | None = None
        self._idle = False  # whether the thread waits for something to do
        self._turn_began: float | None = None
        self._failing: tuple[float, str] | None = None  # since when, and why the last turn failed
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    # ---- from other threads

    def start(self) -> None:
        self._thread.start()

    def receive(self, message: Any) -> None:
        """Take a delivery; the next turn decides whether it runs."""
        idle = self._idle
        self._inbox.put(message)
        if idle:
            time.sleep(_YIELD)  # lets the thread run before the event loop waits for its next event

    def receive_all(self, jobs: list[LeanJob]) -> None:
        """As ``receive``, for jobs of the lean lane."""
        idle = self._idle
        self._inbox.put(jobs)
        if idle:
            time.sleep(_YIELD)

    def completed(self, ended: Sequence[tuple[LeanJob, float]]) -> None:
        """Note attempts that were completed, with the seconds that each took."""
        self._book.ended(*(job.job for job, _ in ended))
        took = [seconds for job, seconds in ended if not self._book.runs_beside(job.task)]
        if took:
            self._claim_ahead.record_duration(sum(took) / len(took), jobs=len(took))

    def report_completed(self, reports: list[AttemptReport]) -> None:
        """Take reports of attempts that were noted as completed; all at once."""
        self._inbox.put(reports)

    def check_claims(self, jobs: Sequence[LeanJob]) -> None:
        """Take jobs that the event loop was to claim: check what it has won, and hand over or drop each."""
        self._inbox.put(Unchecked(tuple(jobs)))

    def report(self, outcome: Outcome, request: Reporting | None = None) -> None:
        """Take the outcome of an attempt."""
        self._book.ended(outcome.id)
        report = AttemptReport.of(request, outcome)
        if report.run_seconds is not None and not self._book.is_beside(outcome.id):
            self._claim_ahead.record_duration(report.run_seconds)
        self._inbox.put(report)

    def prefetch(self) -> int:
        """How many messages this worker should hold, by the duration of its recent jobs."""
        return self._claim_ahead.prefetch(children=self._concurrency(), queues=self._pool_queues())

    def beside(self) -> int:
        """How many messages this worker should hold besides those, for coroutines that run beside.

        Nobody knows of what kind the next message is. So as many more as run already, or a single one to see;
        and while all places are taken a few, so that those that find none do not keep out all others.
        """
        places, held = self._places(), self._book.beside()
        if held >= places:
            return held + self._concurrency() if places else 0
        return held + min(max(1, held), places - held)

    def delivery_capacity(self) -> int:
        """How many deliveries may be received that did not come from the broker."""
        if not self._claiming:
            return 0
        waiting = self._inbox.qsize() + len(self._work.arrived)
        return max(0, self.prefetch() + self._concurrency() - waiting)

    def refill_threshold(self) -> int:
        """See ``ClaimAhead.refill_threshold``."""
        return self._claim_ahead.refill_threshold(children=self._concurrency(), queues=self._pool_queues())

    def release_unknown(self, jobs: Sequence[UUID]) -> None:
        """Release rows that this worker holds in the ledger, unless they are in its book by then."""
        self._inbox.put(frozenset(jobs))

    def started(self, job: UUID) -> None:
        self._book.started(job)

    def set_rate_limited(self, job: UUID, waits: bool) -> None:
        """Note whether a job waits for its task's rate limit."""
        self._book.set_rate_limited(job, waits)
        if waits:
            self.wake()  # another job may be claimed

    def rate_limited(self) -> int:
        """How many jobs wait for their task's rate limit, or for their start time."""
        return self._book.rate_limited() + len(self._work.timed)

    def wake(self) -> None:
        """Look again whether waiting deliveries may be claimed."""
        self._inbox.put(None)

    def attempt_of(self, job: UUID) -> int | None:
        """Which attempt of a job this worker holds."""
        return self._book.attempt_of(job)

    def trouble(self) -> str | None:
        """The reason why turns have failed or not ended for some seconds; None: they succeed."""
        now, failing, began = time.monotonic(), self._failing, self._turn_began
        if failing is not None and now - failing[0] > _TROUBLE:
            return f"outcomes cannot be written for {now - failing[0]:.0f} s: {failing[1]}"
        if began is not None and now - began > _TROUBLE:
            return f"the ledger has not answered its turn for {now - began:.0f} s"
        return None

    @property
    def fails(self) -> bool:
        """Whether its last turn failed."""
        return self._failing is not None

    @property
    def is_closing(self) -> bool:
        return self._closing.is_set() or not self._claiming

    # ---- for the event loop's own claims

    def rooms(self, more: int, beside: int) -> Rooms:
        """How many jobs the event loop may claim. What waits in this thread comes first.

        Args:
            more: jobs that it has won, and that are not in the book as such; of these, those that run
                ``beside`` are counted apart.
        """
        waiting = len(self._work.arrived)
        return self._rooms(more + waiting, beside + waiting)

    def pause(self) -> float:
        """See ``ClaimAhead.pause``."""
        return self._claim_ahead.pause(self._book.unfinished(), children=self._concurrency())

    def wake_if_waiting(self) -> None:
        """Let the thread claim what waits in it, as there may be room now."""
        if self._idle and self._work.arrived:
            self.wake()

    def stop_claiming(self) -> None:
        self._claiming = False

    def close(self, *, within: float, ended_by: str | None = None) -> bool:
        """Write every outcome, release the other jobs uncounted, end; False when that took too long.

        Args:
            ended_by: the exception that ended the worker; the other jobs are then recorded as lost.
        """
        self._claiming = False
        self._closed_at = time.monotonic()
        self._ended_by = ended_by
        self._closing.set()
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join(within)
        return not self._thread.is_alive()

    # ---- the thread

    def _run(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            self._gather()
            try:
                if self._closing.is_set() and not self._work.is_pressing and not self._waits():
                    self._work.give_up_timed()
                    self._turn.finish(self._work, ended_by=self._ended_by)
                    return
                if self._due():
                    self._turn_began = time.monotonic()
                    chosen = self._rooms().choose(self._work.arrived, self._book.runs_beside)
                    self._work = self._turn.take(self._work, claim_limit=chosen)
                self._went_well()
                backoff = _FIRST_BACKOFF
            except UNREACHABLE as exc:
                logger.warning(Event.LEDGER_AWAY, {"error": _first_line(exc)})
                backoff = self._went_wrong(exc, backoff)
            except Exception as exc:  # the worker's every outcome goes through this loop: it must live
                logger.exception(Event.TURN_FAILED)
                backoff = self._went_wrong(exc, backoff)

    def _went_well(self) -> None:
        self._turn_began = None
        refused = next((one.reason for one in self._work.deferred if one.reason), None)
        if refused is None:
            self._failing = None
        elif self._failing is None:
            self._failing = time.monotonic(), refused

    def _went_wrong(self, error: Exception, backoff: float) -> float:
        self._turn_began = None
        since = time.monotonic() if self._failing is None else self._failing[0]
        self._failing = since, f"{kind(error)}: {said(error)}"
        return self._rest(backoff)

    def _rest(self, backoff: float) -> float:
        self._closing.wait(backoff) if not self._closing.is_set() else time.sleep(backoff)
        return min(backoff * 2, _LONGEST_BACKOFF)

    def _gather(self) -> None:
        """Wait until there is something to do, then take what there is."""
        if not self._due():
            self._wait()
        self._drain()
        pause = self._claim_ahead.pause(self._book.unfinished(), children=self._concurrency())
        if self._claiming and pause:
            time.sleep(pause)  # every child has work: more outcomes may share this turn
            self._drain()

    def _wait(self) -> None:
        """Wait until there is something to do."""
        if self._closing.is_set():  # close() wakes it once, perhaps before its last turn
            time.sleep(_TICK if self._work.deferred else 0)
            return
        due = self._work.next_due()
        self._idle = True
        with suppress(queue.Empty):
            self._take(self._inbox.get(timeout=None if due is None else max(0.0, due - time.monotonic())))
        self._idle = False

    def _due(self) -> bool:
        work = self._work
        work.take_up_timed()
        if work.is_pressing or work.uncertain:
            return True
        if work.arrived and self._rooms().choose(work.arrived, self._book.runs_beside):
            return True
        return bool(work.deferred) and min(one.due for one in work.deferred) <= time.monotonic()

    def _waits(self) -> bool:
        """Whether the thread, which is to end, still waits for locked rows."""
        return bool(self._work.deferred) and time.monotonic() - self._closed_at < _LOCKED

    def _rooms(self, more: int = 0, beside: int = 0) -> Rooms:
        """How many more jobs may be claimed.

        Args:
            more, beside: jobs that count as unfinished and are not in the book as such.
        """
        if not self._claiming:
            return Rooms(0)
        claimable = self._claim_ahead.claimable(
            self._book.unfinished() + more, children=self._concurrency(), queues=self._pool_queues()
        )
        places = self._places()
        return Rooms(claimable, max(0, places - self._book.beside() - beside) if places else None)

    def _drain(self) -> None:
        while len(self._work.reports) < _MOST:  # the prefetch limits the deliveries
            try:
                self._take(self._inbox.get_nowait())
            except queue.Empty:
                return

    def _take(self, item: Any) -> None:
        if isinstance(item, AttemptReport):
            self._work.reports.append(item)
        elif isinstance(item, list):
            for each in item:
                self._take(each)
        elif isinstance(item, frozenset):
            self._work.uncertain.update(item)
        elif isinstance(item, Unchecked):
            self._work.unchecked += item.jobs
        elif isinstance(item, LeanJob):
            self._work.arrived.append(item)
        elif item is not None:
            timed = self._turn.paced.timed(item)
            if timed is None:
                self._work.arrived.append(item)
            else:
                self._work.timed.append(timed)


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
