"""Claim and complete jobs of the lean lane in the event loop, by one statement at a time.

Between the event loop and the ledger thread each batch would wait for the interpreter. The thread has
everything else: what this statement does not win, does not complete, or cannot do while the database is away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from celeriac.events import Event
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.error_kinds import kind, said
from celeriac.ledger.connection.framework import is_joined
from celeriac.ledger.partitions.known import known_days
from celeriac.ledger.writes.turn.exchange import Exchange, Exchanged
from celeriac.task.results.carried import CarriedResult
from celeriac.worker.counters import Meter
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.lean_job import LeanJob
from celeriac.worker.gate.ledger_thread import LedgerThread
from celeriac.worker.pauses import Pauses
from celeriac.worker.watermarks import Watermarks

logger = logging.getLogger(__name__)

#: Jobs that one statement claims, and completes, at most. Children would wait for larger ones.
_MOST = 256

#: With so many, the next statement is sent before the answer to the last one is worked through.
_MANY = 64

_REST = 2.0  # seconds until a connection is made again

Ended = tuple[LeanJob, float]  # an attempt that was completed, and how many seconds it took


class LeanOwner(Protocol):
    """Who has the jobs of the lane beside this."""

    def winners(self, jobs: Sequence[LeanJob]) -> None:
        """Take jobs that were won."""

    def report(self, ended: Sequence[Ended]) -> None:
        """Have the ledger thread record attempts."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a statement is about, and when it was sent."""

    ended: list[Ended]
    jobs: list[LeanJob]
    at: float


class LeanExchange:
    """In the event loop's thread; the connection alone is made in another.

    Args:
        database: of PostgreSQL, for one connection.
        worker: the id of this start of the worker.
        drop: takes copies of deliveries.
        store: takes results of attempts that are on record, by their task ids.
        in_event_loop: runs something in the event loop.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: UUID,
        book: ClaimBook,
        ledger: LedgerThread,
        pauses: Pauses,
        meter: Meter,
        watermarks: Watermarks,
        drop: Callable[[Sequence[Any]], None],
        store: Callable[[Sequence[tuple[str, CarriedResult]]], None],
        in_event_loop: Callable[[Callable[[], Any]], None],
    ) -> None:
        self._database = database
        self._worker = worker
        self._book = book
        self._ledger = ledger
        self._pauses = pauses
        self._meter = meter
        self._watermarks = watermarks
        self._drop = drop
        self._store = store
        self._in_event_loop = in_event_loop
        self._arrived: deque[LeanJob] = deque()
        self._beside: deque[LeanJob] = deque()  # of those, the coroutines that run beside others
        self._ended: list[Ended] = []  # and not sent
        self._sent: _Sent | None = None  # and not answered
        self._exchange: Exchange | None = None
        self._owner: LeanOwner | None = None
        self._hub: Any = None
        self._is_due = False  # whether the event loop sends soon
        self._opens_at: float | None = (
            0.0  # when a connection is made; None: it is being made, or none ever is
        )

    @property
    def is_open(self) -> bool:
        """Whether it takes jobs now."""
        return self._exchange is not None

    # ---- life

    def serve(self, owner: LeanOwner) -> None:
        self._owner = owner

    def watch(self, hub: Any) -> None:
        """Have ``hub`` watch the connection; it forgets all that it watches when the broker is lost."""
        self._hub = hub
        if self._exchange is not None:
            hub.add_reader(self._exchange.fileno(), self._on_readable)
            if self._sent is not None:
                self._flush()
        self._send_soon()

    def look(self) -> None:
        """Claim what there is room for now; make a connection, if it is time. Called again and again."""
        if self._arrived or self._beside:
            self._send_soon()
        if self._exchange is not None and self._sent is None and self._exchange.is_outdated:
            self._give_up()
            self._opens_at = 0.0
        if self._opens_at is not None and self._opens_at <= time.monotonic() and not self._ledger.fails:
            self._opens_at = None
            threading.Thread(target=self._open, name="ledger-exchange", daemon=True).start()

    def stop(self, *, within: float) -> None:
        """Wait for an answer that is to come; from now on the ledger thread has everything."""
        self._opens_at = None
        end = time.monotonic() + within
        try:
            while self._sent is not None and self._exchange is not None:
                if not self._exchange.wait(max(0.0, end - time.monotonic())):
                    raise TimeoutError(f"no answer within {within:g} s")
                self._take_answer(self._exchange.read())
        except Exception as exc:  # whatever it is, the ledger thread finds out what was done
            self._fail(exc)
            return
        self._give_up()

    def _open(self) -> None:
        """In a thread: a connection may take long."""
        found: Exchange | None = None
        try:
            database = self._database
            days = known_days(database, anew=True)  # before its one connection is lent
            if not is_joined(database) and (pooled := database.lend()) is not None:
                found = Exchange(
                    pooled,
                    worker=self._worker,
                    schema=database.schema,
                    within=database.longest,
                    days=days,
                )
                if not self._pauses.is_known:
                    self._pauses.look()
            opens_at = None
        except Exception as exc:  # the ledger thread serves meanwhile, and says what there is to say
            logger.debug(Event.NO_EXCHANGE, {"error": f"{kind(exc)}: {said(exc)}"})
            opens_at = time.monotonic() + _REST
        self._in_event_loop(lambda: self._opened(found, opens_at))

    def _opened(self, exchange: Exchange | None, opens_at: float | None) -> None:
        if self._ledger.is_closing:
            return
        self._exchange, self._opens_at = exchange, opens_at
        if self._hub is not None:
            self.watch(self._hub)

    # ---- jobs in

    def receive(self, jobs: list[LeanJob]) -> None:
        """Take deliveries; whether they run, the ledger says."""
        if self._exchange is None:
            self._ledger.receive_all(jobs)
            return
        if self._pauses.any:
            stopped = [one for one in jobs if self._pauses.stop(one.queue, one.task)]
            if stopped:
                self._ledger.receive_all(stopped)
                jobs = [one for one in jobs if one not in stopped]
        for job in jobs:
            (self._beside if self._book.runs_beside(job.task) else self._arrived).append(job)
        self._send_soon()

    def complete(self, ended: Sequence[Ended]) -> None:
        """Take attempts that were completed, and whose results nobody keeps or are carried."""
        self._ended.extend(ended)
        self._send_soon()

    # ---- statements out

    def _send_soon(self) -> None:
        if self._sent is not None or self._exchange is None or self._hub is None:
            return
        pause = 0.0 if len(self._ended) >= _MANY else self._ledger.pause()
        if self._is_due and pause:
            return
        self._is_due = True
        if pause:  # every child has work: more may share the statement
            self._hub.call_later(pause, self._send)
        else:
            self._hub.call_soon(self._send)

    def _send(self, *, won: int = 0, beside: int = 0) -> None:
        """Send the next statement, if there is anything to say.

        Args:
            won, beside: jobs of each kind that are not in the book as won yet, although they are.
        """
        self._is_due = False
        if self._sent is not None or (exchange := self._exchange) is None:
            return
        ended, self._ended = self._ended[:_MOST], self._ended[_MOST:]
        rooms = self._ledger.rooms(won, beside)
        jobs = self._enter(self._arrived, min(_MOST, rooms.children))
        jobs += self._enter(self._beside, min(_MOST - len(jobs), rooms.beside or 0), beside=True)
        if not (ended or jobs):
            return
        self._sent = _Sent(ended, jobs, time.monotonic())
        completed = [(job.id, job.attempt, job.carried and job.carried.value) for job, _ in ended]
        try:
            if not exchange.send(completed, [job.id for job in jobs]):
                self._hub.add_writer(exchange.writing_fileno(), self._flush)
        except Exception as exc:  # the ledger thread goes on with it
            self._fail(exc)

    def _enter(self, arrived: deque[LeanJob], room: int, *, beside: bool = False) -> list[LeanJob]:
        """Enter the next jobs into the book; a second copy of a message must not run."""
        found = [arrived.popleft() for _ in range(min(room, len(arrived)))]
        if not found:
            return found
        fresh = self._book.enter_all([one.job for one in found], beside=beside)
        if all(fresh):
            return found
        self._drop([one for one, new in zip(found, fresh, strict=True) if not new])
        return [one for one, new in zip(found, fresh, strict=True) if new]

    def _flush(self) -> None:
        exchange = self._exchange
        try:
            if exchange is None:
                return
            if exchange.flush():
                self._hub.remove_writer(exchange.writing_fileno())
            else:
                self._hub.add_writer(exchange.writing_fileno(), self._flush)
        except Exception as exc:  # as in _send
            self._fail(exc)

    # ---- answers in

    def _on_readable(self) -> None:
        try:
            if self._exchange is not None:
                self._take_answer(self._exchange.read())
        except Exception as exc:  # as in _send
            self._fail(exc)

    def _take_answer(self, answer: Exchanged | None) -> None:
        sent = self._sent
        if answer is None or sent is None:
            return
        self._sent = None
        self._meter.observe_turn(time.monotonic() - sent.at, jobs=len(sent.ended) + len(sent.jobs))
        if len(self._ended) >= _MANY or len(self._arrived) >= _MANY:
            beside = sum(job.id in answer.claimed and self._book.is_beside(job.job) for job in sent.jobs)
            self._send(won=len(answer.claimed) - beside, beside=beside)
        self._take_completed(sent.ended, answer)
        self._take_claimed(sent.jobs, answer)
        self._ledger.wake_if_waiting()
        self._send_soon()

    def _take_completed(self, ended: list[Ended], answer: Exchanged) -> None:
        assert self._owner is not None
        done = answer.completed
        if len(done) < len(ended):  # too late, or locked by others: the ledger thread sees which
            self._owner.report([one for one in ended if one[0].id not in done])
            ended = [one for one in ended if one[0].id in done]
        self._book.leave(*(job.job for job, _ in ended))
        if carried := [(job.id, job.carried) for job, _ in ended if job.carried is not None]:
            self._store(carried)
        self._meter.completed([(job.shown_task, seconds) for job, seconds in ended])

    def _take_claimed(self, jobs: list[LeanJob], answer: Exchanged) -> None:
        assert self._owner is not None
        won = answer.claimed
        self._book.won_all((claimed.id, claimed.attempt) for claimed in won.values())
        mine: list[LeanJob] = []
        odd: list[LeanJob] = []
        for job in jobs:
            claimed = job.claimed = won.get(job.id)
            good = claimed is not None and not claimed.failed_before and job.is_of(claimed)
            (mine if good else odd).append(job)
        if odd:  # not won, an old copy, or perhaps poison
            self._ledger.check_claims(odd)
        self._watermarks.claimed(won[job.id] for job in mine)
        self._meter.claimed(won[job.id] for job in mine)
        if mine:
            self._owner.winners(mine)

    # ---- the ledger thread goes on

    def _fail(self, error: Exception) -> None:
        logger.info(Event.NO_EXCHANGE, {"error": f"{kind(error)}: {said(error)}"})
        if self._opens_at is not None or self._exchange is not None:
            self._opens_at = None if self._ledger.is_closing else time.monotonic() + _REST
        sent, self._sent = self._sent, None
        if sent is not None:  # only the answer may be lost
            ids = [job.job for job in sent.jobs]
            self._book.leave(*ids)
            self._ledger.release_unknown(ids)
            self._arrived.extendleft(reversed(sent.jobs))  # whatever their kinds: the thread has them next
            self._ended[:0] = sent.ended
        self._give_up()

    def _give_up(self) -> None:
        """Close the connection; hand what waits here to the ledger thread."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            if self._hub is not None:
                for number in exchange.filenos():
                    with suppress(OSError):  # libpq has closed it; the hub forgets it all the same
                        self._hub.remove(number)
            exchange.close()
        jobs, ended = [*self._arrived, *self._beside], self._ended
        self._arrived.clear()
        self._beside.clear()
        self._ended = []
        if jobs:
            self._ledger.receive_all(jobs)
        if ended and self._owner is not None:
            self._owner.report(ended)
