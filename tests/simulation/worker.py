"""A simulated worker: the rules of ``celeriac.worker.gate.turn``, one step at a time.

Each of its threads is a generator that stops wherever the real one may be overtaken, frozen or killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes.claims import Claimed
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.worker.gate.claim_book import ClaimBook
from tests.simulation.broker import Message
from tests.simulation.driver import DriverFault
from tests.simulation.keeper import Keeper
from tests.simulation.limits import is_paced

if TYPE_CHECKING:
    from tests.simulation.world import World

CHILDREN = 2
PREFETCH = 5  # deliveries that wait in the worker, at most
SUSPECT_DELAY = 0.3  # seconds
BACKOFF = (0.1, 2.0)  # seconds, first and longest
UNKNOWN_DELAY = 5.0  # seconds; shorter than a real worker's, as simulated lives are
UNKNOWN_LIMIT = 60.0  # seconds

Moves = list[Any]


@dataclass(slots=True, eq=False)
class Execution:
    """An attempt in this worker's hands; ``claim`` is the audit's number for how it got there."""

    job: UUID
    attempt: int
    claim: int
    tries_left: int
    ends: float | None = None  # simulated seconds; None: no child has begun with it
    revoked: bool = False


@dataclass(slots=True)
class Answer:
    accepted: dict[UUID, JobState] = field(default_factory=dict)
    won: dict[UUID, Claimed] = field(default_factory=dict)
    waits: dict[UUID, float] = field(default_factory=dict)


class Worker:
    """One start of a worker's main process, with its children.

    Args:
        tasks: the tasks that it knows; another may know more.
        slowness: what its children take, as a multiple of what others take.
    """

    def __init__(self, world: World, start: WorkerStart, *, tasks: frozenset[str], slowness: float) -> None:
        self.world = world
        self.start = start
        self.id = start.id
        self.tasks = tasks
        self.slowness = slowness
        self.held = ClaimBook()
        self.keeper = Keeper(self)
        self.frozen_until = 0.0  # simulated seconds
        self.stopping = False
        self.arrived: list[Message] = []
        self.timed: list[tuple[float, Message]] = []  # that wait for a start, in simulated seconds
        self.told: list[tuple[Outcome, Execution]] = []
        self.executions: dict[UUID, Execution] = {}
        self._rests_until = 0.0  # simulated seconds, after a turn that failed
        self._backoff = BACKOFF[0]
        self._uncertain: set[UUID] = set()
        self._suspect: UUID | None = None
        self._turning: Iterator[None] | None = None

    def __repr__(self) -> str:
        return f"worker {self.id.hex[:4]}"

    # ---- what it can do next

    def moves(self) -> Moves:
        now = self.world.clock.seconds
        if self.frozen_until > now:
            return []
        moves: Moves = []
        self.arrived[:0] = [message for due, message in self.timed if due <= now]
        self.timed = [each for each in self.timed if each[0] > now]
        work = self.told or self._uncertain or self.stopping or (self.arrived and self._room() > 0)
        if (self._turning or work) and self._rests_until <= now:
            moves.append(self._advance)
        if self.keeper.ready(now):
            moves.append(self.keeper.advance)
        running = [e for e in self.executions.values() if e.ends is not None]
        if len(running) < min(CHILDREN, len(self.executions)) and not self.stopping:
            moves.append(self._begin)
        if any(e.ends is not None and e.ends <= now for e in running):
            moves.append(self._end)
        if not self.stopping and len(self.arrived) < PREFETCH and self.world.broker.filled():
            moves.append(self._receive)
        return moves

    def next_moment(self) -> float:
        """When it can do something again, in simulated seconds."""
        ends = [e.ends for e in self.executions.values() if e.ends is not None]
        starts = [due for due, _ in self.timed]
        return max(self.frozen_until, min([self.keeper.next_moment(), *ends, *starts, *self._rest()]))

    def _rest(self) -> list[float]:
        return [self._rests_until] if self._rests_until > self.world.clock.seconds else []

    def die(self) -> None:
        """Its process ends, and what it ran ends with it."""
        for execution in self.executions.values():
            self.world.audit.over(execution.job, execution.attempt)
        self.executions.clear()

    # ---- the event loop

    def _receive(self) -> None:
        queue = self.world.random.choice(self.world.broker.filled())
        message = self.world.broker.pop(queue)
        self.world.note(self, "received", message.job)
        self.arrived.append(message)

    def _begin(self) -> None:
        """A child begins with the next job, unless it was revoked meanwhile."""
        execution = next(e for e in self.executions.values() if e.ends is None)
        if execution.revoked:
            self._tell(execution, JobState.CANCELLED, AttemptKind.CANCELLED)
            return
        self.held.started(execution.job)
        random = self.world.random
        usual = 6.0 if random.random() < 0.2 else 0.3  # seconds; a long one may be rescued while it runs
        execution.ends = self.world.clock.seconds + random.expovariate(1 / (usual * self.slowness))
        self.world.note(self, "began", execution.job, execution.attempt)

    def _end(self) -> None:
        now, random = self.world.clock.seconds, self.world.random
        execution = next(e for e in self.executions.values() if e.ends is not None and e.ends <= now)
        fate = random.random()
        if execution.revoked:
            self._tell(execution, JobState.CANCELLED, AttemptKind.CANCELLED)
        elif fate < 0.6:
            self.world.results[execution.job] = "1"
            self._tell(execution, JobState.COMPLETED)
        elif fate < 0.83:
            self._tell(
                execution, JobState.ERROR, AttemptKind.ERROR, delay=random.choice((0.0, 0.2, 3.0, 15.0))
            )
        elif fate < 0.9:  # its child died: before or after the result was stored
            done = execution.job in self.world.results
            self._tell(execution, JobState.COMPLETED if done else JobState.ERROR, AttemptKind.LOST)
        elif fate < 0.95:
            self._tell(execution, JobState.FAILED, AttemptKind.REJECTED)
        else:
            self._tell(execution, JobState.PENDING)  # the task replaced itself

    def _tell(
        self, execution: Execution, state: JobState, kind: AttemptKind | None = None, *, delay: float = 0.0
    ) -> None:
        failure = Failure(kind) if kind and state is not JobState.COMPLETED else None
        successors = (self.world.new_job(),) if state is JobState.PENDING else ()
        outcome = Outcome(
            id=execution.job,
            attempt=execution.attempt,
            state=state,
            failure=failure,
            delay=delay,
            successors=successors,
        )
        self.world.note(self, f"told {state}", execution.job, execution.attempt)
        self.held.ended(execution.job)
        self._forget(execution)
        self.told.append((outcome, execution))

    def _forget(self, execution: Execution) -> None:
        del self.executions[execution.job]
        self.world.audit.over(execution.job, execution.attempt)

    # ---- the ledger thread

    def _advance(self) -> None:
        self._turning = self._turning or self._turn()
        try:
            next(self._turning)
        except StopIteration:
            self._turning = None

    def spare(self) -> int:
        """How many deliveries it may take that did not come from the broker."""
        return PREFETCH + CHILDREN - len(self.arrived)

    def _room(self) -> int:
        return CHILDREN + 1 - self.held.unfinished()

    def _turn(self) -> Iterator[None]:
        if self.stopping and not self.told:
            yield from self._finish()
            return
        told = list(self.told)
        taken = self.arrived[: max(0, self._room())] if not self.stopping else []
        mine = [message for message in taken if self.held.enter(message.job)]
        known = [message.job for message in mine if message.task in self.tasks]
        unknown = [message.job for message in mine if message.task not in self.tasks]
        yield
        presenting = {outcome.id: execution.claim for outcome, execution in told}
        try:
            with self.world.driver.transaction(self.id, "turn", presenting=presenting) as connection:
                answer = self._transact(connection, [outcome for outcome, _ in told], known, unknown)
        except DriverFault as fault:
            self.world.note(self, f"turn failed at {fault}", *known)
            self._uncertain.update(known)
            if self._suspect in self._uncertain:
                self._suspect = None
            for message in mine:
                self.held.leave(message.job)
            self._rests_until = self.world.clock.seconds + self._backoff
            self._backoff = min(self._backoff * 2, BACKOFF[1])
            return
        self._uncertain, self._backoff = set(), BACKOFF[0]
        won = {job: self.world.audit.won(job, claimed.attempt) for job, claimed in answer.won.items()}
        self.world.note(self, "turn committed, won", *answer.won)
        yield
        del self.told[: len(told)], self.arrived[: len(taken)]
        now, waits = self.world.clock.seconds, answer.waits
        self.timed += [(now + waits[each.job], each) for each in mine if each.job in waits]
        self._settle([outcome for outcome, _ in told], answer)
        self._deliver(known, answer, won)
        for job in unknown:
            self.held.leave(job)

    def _transact(
        self, connection: Any, told: Sequence[Outcome], known: Sequence[UUID], unknown: Sequence[UUID]
    ) -> Answer:
        ledger, answer = self.world.ledger, Answer()
        if self._uncertain:
            ledger.release_uncertain(connection, sorted(self._uncertain), worker=self.id)
        if told:
            answer.accepted = ledger.record(connection, told, worker=self.id)
        if unknown:
            ledger.postpone(connection, unknown, delay=UNKNOWN_DELAY, limit=UNKNOWN_LIMIT)
        put_away = ledger.hold(connection, known) if known and self.world.pauses else set()
        if due := [job for job in known if job not in put_away]:
            answer.won = self._claim(connection, due, answer)
            if len(answer.won) < len(due):
                ledger.expire(connection, [job for job in due if job not in answer.won])
        return answer

    def _claim(self, connection: Any, ids: Sequence[UUID], answer: Answer) -> dict[UUID, Claimed]:
        """Claim, but hold at most one job with a lost attempt behind it."""
        ledger, rows = self.world.ledger, self.world.audit.rows
        paced = {job: None for job in ids if job in rows and is_paced(rows[job])}
        plain = [job for job in ids if job not in paced]
        won: dict[UUID, Claimed] = ledger.claim(connection, plain, worker=self.id) if plain else {}
        if paced:
            started = ledger.start(connection, paced, worker=self.id)
            won |= started.won
            answer.waits = started.waits
        failed = [job for job, claimed in won.items() if claimed.failed_before]
        suspects = sorted(ledger.lost_repeatedly(connection, failed)) if failed else []
        surplus = suspects if self._suspect else suspects[1:]
        if surplus:
            attempts = [(job, won[job].attempt) for job in surplus]
            for job in ledger.release(connection, attempts, worker=self.id, delay=SUSPECT_DELAY):
                del won[job]
        if suspects and not self._suspect:
            self._suspect = suspects[0]
        return won

    def _settle(self, told: Sequence[Outcome], answer: Answer) -> None:
        for outcome in told:
            if outcome.id not in answer.accepted:
                self.world.note(self, "late outcome refused", outcome.id, outcome.attempt)
            elif outcome.id in self.world.audit.rows:
                self.keeper.freed(self.world.audit.rows[outcome.id].takes())
            self.held.leave(outcome.id)
            if outcome.id == self._suspect:
                self._suspect = None
        if told:
            self.keeper.poke()

    def _deliver(self, known: Sequence[UUID], answer: Answer, claims: dict[UUID, int]) -> None:
        self.keeper.watermarks.claimed(answer.won.values())
        for job in known:
            claimed = answer.won.get(job)
            if claimed is None:
                self.held.leave(job)
                continue
            self.held.won(job, claimed.attempt)
            left = claimed.max_tries - claimed.attempt
            self.executions[job] = Execution(job, claimed.attempt, claims[job], left)

    def _finish(self) -> Iterator[None]:
        """End by itself: children have been stopped, what is open is released uncounted."""
        self.keeper.stop()
        self.die()
        waiting = [message.job for message in (*self.arrived, *(each for _, each in self.timed))]
        yield
        ledger = self.world.ledger
        try:
            with self.world.driver.transaction(self.id, "shutdown") as connection:
                if self._uncertain:
                    ledger.release_uncertain(connection, sorted(self._uncertain), worker=self.id)
                if self.held.open():
                    ledger.release(connection, self.held.open(), worker=self.id)
                if waiting:
                    ledger.unmark(connection, waiting)
                ledger.sign_off(connection, self.id)
        except DriverFault:
            return
        self.world.ended(self)
