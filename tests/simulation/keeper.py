"""A simulated keeper: the duties of ``celeriac.worker``'s dispatcher, strander, rescuer and canceller."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.upkeep.rescue import HeldAttempt
from celeriac.ledger.writes.claims import Claimed, Message
from celeriac.ledger.writes.outcomes import Failure, Outcome
from tests.simulation import broker
from tests.simulation.broker import QUEUES, BrokerFault
from tests.simulation.driver import Clock, DriverFault
from tests.simulation.ledger import SILENCE
from tests.simulation.limits import EVERY, Admission

if TYPE_CHECKING:
    from tests.simulation.worker import Worker

GRACE = 10.0  # seconds for a message to be claimed after a later one was
REST = 0.5  # seconds after a duty failed


class Watermarks:
    """The rule of ``celeriac.worker.watermarks``, on the simulated clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, deque[tuple[float, datetime]]] = defaultdict(deque)
        self._reached: dict[str, datetime] = {}

    def claimed(self, jobs: Iterable[Claimed]) -> None:
        for job in jobs:
            self._forget_after(job.dispatched + job.waited)
            self._seen[job.queue].append((self._clock.seconds, job.dispatched))

    def _forget_after(self, clock: datetime) -> None:
        """The database's clock may have been set back."""
        self._reached = {queue: moment for queue, moment in self._reached.items() if moment <= clock}
        for seen in self._seen.values():
            while seen and seen[-1][1] > clock:
                seen.pop()

    def reached(self, queue: str) -> datetime | None:
        seen = self._seen[queue]
        while seen and seen[0][0] <= self._clock.seconds - GRACE:
            _, moment = seen.popleft()
            self._reached[queue] = max(self._reached.get(queue, moment), moment)
        return self._reached.get(queue)


class Keeper:
    """One duty at a time; another thread may act between any two of its transactions."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.world = worker.world
        self.watermarks = Watermarks(self.world.clock)
        self._duties: dict[str, tuple[Callable[[], Iterator[None]], float]] = {
            "beat": (self._beat, 3.0),
            "dispatch": (self._dispatch, 1.0),
            "collect": (self._collect, 1.0),
            "cancel": (self._cancel, 1.0),
            "rescue": (self._rescue, 1.0),
            "unknown claims": (self._release_unknown, 5.0),
            "strands": (self._unstrand, 2.0),
        }
        if self.world.pauses:
            self._duties["pauses"] = self._give_back, 0.5
        self.admission = Admission(self)
        if self.world.limits:
            self._duties["admit"] = self.admission.run, EVERY
        self._due = dict.fromkeys(self._duties, self.world.clock.seconds)
        self._doing: tuple[str, Iterator[None]] | None = None
        self._stopped = False
        self._detector = self.world.ledger.detector(SILENCE)
        self.last_beat = 0.0
        self._strange: set[tuple[UUID, int]] = set()

    def ready(self, now: float) -> bool:
        return not self._stopped and (self._doing is not None or min(self._due.values()) <= now)

    def next_moment(self) -> float:
        return min(self._due.values())

    def poke(self) -> None:
        self._due["dispatch"] = self.world.clock.seconds

    def freed(self, permits: Iterable[str]) -> None:
        """Jobs have given these permits back."""
        if permits:
            self.admission.freed.update(permits)
            self._due["admit"] = self.world.clock.seconds

    def stop(self) -> None:
        self._stopped = True

    def advance(self) -> None:
        """Go on with the duty that was begun, or begin the one that is due longest."""
        if self._doing is None:
            name = min(self._due, key=lambda name: self._due[name])
            self._doing = name, self._duties[name][0]()
        name, steps = self._doing
        wait = self._duties[name][1]
        try:
            next(steps)
            return
        except StopIteration:
            pass
        except DriverFault as fault:
            self.world.note(self.worker, f"{name} failed at {fault}")
            wait = REST
        self._doing = None
        self._due[name] = self.world.clock.seconds + wait

    # ---- the duties; each ``yield`` is where others may come between

    def _beat(self) -> Iterator[None]:
        with self.world.driver.transaction(self.worker.id, "beat") as connection:
            if not self.world.ledger.beat(connection, self.worker.id):
                self.world.ledger.sign_on(connection, self.worker.start)
        self.last_beat = self.world.clock.seconds
        self._detector.beat_written(self.last_beat)
        yield from ()

    def _dispatch(self) -> Iterator[None]:
        with self.world.driver.reading() as connection:
            levels = self.world.ledger.levels(connection)
        due = [level.priority for level in levels if level.due_in <= 0]
        if not due:
            return
        yield
        messages: list[Message] = []
        with self.world.driver.transaction(self.worker.id, "dispatch") as connection:
            for priority in due:
                messages += self._take(connection, priority)
        yield
        try:
            for message in messages:
                self.world.note(self.worker, "sent", message.id)
                self.world.broker.publish(broker.Message(message.id, message.job_type, message.queue))
        except BrokerFault:
            yield
            with self.world.driver.transaction(self.worker.id, "unmark") as connection:
                self.world.ledger.unmark(connection, [message.id for message in messages])
        else:
            self.poke()

    def _take(self, connection: Any, priority: int) -> list[Message]:
        if not self.world.pauses:
            return list(self.world.ledger.take_due(connection, priority, limit=5))
        found, put_away = self.world.ledger.take_or_hold(connection, priority, limit=5)
        if put_away:
            self.world.note(self.worker, f"held {put_away}")
        return list(found)

    def _give_back(self) -> Iterator[None]:
        with self.world.driver.reading() as connection:
            resumed = self.world.ledger.look(connection).resumed
        for word in resumed:
            yield
            with self.world.driver.transaction(self.worker.id, "give back") as connection:
                found = self.world.ledger.give_back(connection, word, limit=5)
            if found:
                self.world.note(self.worker, f"gave back {found}")
                self.poke()

    def _collect(self) -> Iterator[None]:
        """What others put back, past the broker."""
        worker = self.worker
        if worker.stopping or not worker.spare():
            return
        with self.world.driver.transaction(worker.id, "collect") as connection:
            found = self.world.ledger.collect(
                connection, tasks=sorted(worker.tasks), queues=QUEUES, limit=worker.spare()
            )
        yield
        for message in found:
            self.world.note(worker, "collected", message.id)
            worker.arrived.append(broker.Message(message.id, message.job_type, message.queue))

    def _cancel(self) -> Iterator[None]:
        if not self.worker.executions:
            return
        with self.world.driver.reading() as connection:
            rows = self.world.ledger.held_by(connection, [self.worker.id])
        yield
        for row in rows:
            execution = self.worker.executions.get(row.id)
            if row.cancel_requested and execution and (row.cancel_requested == "hard" or not execution.ends):
                self.world.note(self.worker, "revoked", row.id)
                execution.revoked = True

    def _rescue(self) -> Iterator[None]:
        with self.world.driver.reading() as connection:
            seen = self.world.ledger.sightings(connection)
        for dead in self._detector.dead(seen, self.world.clock.seconds):  # never itself: that is a rule, too
            yield
            with self.world.driver.reading() as connection:
                held = self.world.ledger.held_by(connection, [dead.worker])
            yield
            told = [self._lost(attempt) for attempt in held]
            attempts = {attempt.id: attempt.attempt for attempt in held}
            with self.world.driver.transaction(self.worker.id, "rescue", presenting=attempts) as connection:
                if not self.world.ledger.declare_dead(connection, dead):
                    continue
                accepted = self.world.ledger.record(connection, told, worker=dead.worker)
            self.world.buried(dead.worker)
            self.world.note(self.worker, f"rescued from {dead.worker.hex[:4]}", *accepted)
            self.poke()

    def _lost(self, attempt: HeldAttempt) -> Outcome:
        if attempt.id in self.world.results:
            return Outcome(id=attempt.id, attempt=attempt.attempt, state=JobState.COMPLETED, result="1")
        failure = Failure(AttemptKind.LOST)
        return Outcome(id=attempt.id, attempt=attempt.attempt, state=JobState.ERROR, failure=failure)

    def _release_unknown(self) -> Iterator[None]:
        with self.world.driver.reading() as connection:
            rows = self.world.ledger.held_by(connection, [self.worker.id])
        strange = {(row.id, row.attempt) for row in rows if row.id not in self.worker.held}
        lost = sorted(strange & self._strange)
        self._strange = strange
        if lost:
            yield
            with self.world.driver.transaction(self.worker.id, "release unknown") as connection:
                released = self.world.ledger.release(connection, lost, worker=self.worker.id)
            self.world.note(self.worker, "released unknown", *released)
            self.poke()

    def _unstrand(self) -> Iterator[None]:
        empty = {queue for queue in QUEUES if self.world.broker.empty(queue)}
        yield
        found = 0
        reached = {queue: None if queue in empty else self.watermarks.reached(queue) for queue in QUEUES}
        wanted = {queue: before for queue, before in reached.items() if queue in empty or before is not None}
        with self.world.driver.transaction(self.worker.id, "unstrand") as connection:
            if wanted:
                found = self.world.ledger.clear_dispatch_marks(connection, wanted, grace=GRACE)
        if found:
            self.world.note(self.worker, f"found {found} strands")
            self.poke()
