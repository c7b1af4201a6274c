"""The simulated world: workers, producers, an operator, a broker and a database, and all that befalls them.

Everything that happens follows from one seed. Faults stop at the end, and then every job must end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any
from uuid import UUID

from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes.cancel import Answer, Mode
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.limits.permits import Permit
from tests.simulation import limits
from tests.simulation.audit import Audit, Violation
from tests.simulation.broker import QUEUES, Broker, BrokerFault, Message
from tests.simulation.driver import Clock, Driver, DriverFault, memory
from tests.simulation.ledger import SILENCE, Ledger
from tests.simulation.worker import Worker

TASKS = frozenset({"mail.send", "report.build"})
OLD_TASKS = frozenset({"mail.send"})  # what a worker of the older version knows

WORKERS = 3
OPEN_JOBS = 25  # producers rest while there are more
RETENTION = 40.0  # seconds
EVENTS = 30  # that a failure tells of

#: Steps in which everything must have ended after the last fault. A message that was lost often
#: is waited for longest, up to 640 seconds.
PATIENCE = 40_000


@dataclass(frozen=True, slots=True)
class Rates:
    """How often things happen, as shares of steps, transactions or messages."""

    outsiders: float = 0.13
    crash: float = 0.0012
    freeze: float = 0.002
    stop: float = 0.001
    flush: float = 0.0005
    outage: float = 0.0005
    driver: float = 0.03
    broker: float = 0.12
    step: float = 0.0  # of the database's clock
    restore: float = 0.0  # of rows of workers, gone as after a failover to older data
    pause: float = 0.0  # of a queue, or its end
    paced: bool = False  # whether jobs take a rate, too
    limits: float = 0.0  # of a change of a limit; where there are any, jobs take permits of them


#: Much of everything at once, so that faults meet each other.
STORM = Rates(crash=0.003, freeze=0.006, stop=0.003, flush=0.001, outage=0.002, driver=0.1, broker=0.25)

#: A database that loses answers, and workers that live long enough to be confused by it.
BAD_LINE = Rates(crash=0.0003, freeze=0.0005, stop=0.0005, flush=0.0, outage=0.004, driver=0.3, broker=0.05)

#: Workers that freeze again and again, some of them while they rescue others.
FROST = Rates(crash=0.0005, freeze=0.02, stop=0.0005, flush=0.0, outage=0.0, driver=0.05, broker=0.05)

#: A database whose clock is set forward and back, and whose table of workers is lost now and then.
STEPS = Rates(crash=0.001, freeze=0.001, step=0.004, restore=0.002)


#: Queues that are paused and resumed, beside all that may befall the workers and their messages.
PAUSES = Rates(crash=0.002, freeze=0.003, flush=0.001, driver=0.06, pause=0.004)

#: Jobs that wait for limits of the fleet, which an operator changes, beside all that may befall the workers.
LIMITS = Rates(crash=0.002, freeze=0.004, stop=0.001, flush=0.001, outage=0.0005, driver=0.08, limits=0.01)

#: The same with a rate, which many jobs take, and workers that freeze with what they were sent.
PACES = Rates(crash=0.001, freeze=0.01, stop=0.001, flush=0.0005, driver=0.05, limits=0.002, paced=True)


class SimulationFailed(AssertionError):
    """A promise was broken: in which step of which seed, and what happened before."""

    def __init__(self, seed: int, steps: int, step: int, reason: str, events: tuple[str, ...]) -> None:
        super().__init__(seed, steps, step, reason, events)
        self.seed, self.steps, self.step, self.reason, self.events = seed, steps, step, reason, events

    def __str__(self) -> str:
        told = "\n".join(f"  {event}" for event in self.events)
        return (
            f"seed {self.seed}, step {self.step}: {self.reason}; "
            f"replay with SIMULATION_SEED={self.seed} SIMULATION_STEPS={self.steps}\n{told}"
        )


class World:
    """A context manager; ``run`` makes it happen.

    Args:
        ledger: the functions under test; a test of the test gives broken ones.
        patience: steps in which everything must have ended after the last fault.
    """

    def __init__(
        self, seed: int, *, ledger: Ledger | None = None, rates: Rates | None = None, patience: int = PATIENCE
    ) -> None:
        self.seed = seed
        self.ledger = ledger or Ledger()
        self.rates = rates or Rates()
        self._patience = patience
        self.random = Random(seed)
        self.clock = Clock()
        self.audit = Audit(lambda: self.clock.database_us)
        self.broker = Broker(self.random, self.clock, self.rates.broker)
        self.results: dict[UUID, str] = {}  # the result store
        self.accepted: set[UUID] = set()
        self.steps = 0
        self._events: deque[tuple[Any, ...]] = deque(maxlen=EVENTS)
        self._digest = blake2b(digest_size=16)
        self._workers: list[Worker] = []
        self._callers: list[Iterator[None]] = []
        self._doomed: list[tuple[float, Worker]] = []  # thawed, they die before they have found their feet
        self._outage_until = 0.0  # simulated seconds
        self._ids: deque[UUID] = deque(maxlen=200)  # of jobs somebody may still ask for
        self._folder = TemporaryDirectory(prefix="simulation-", dir=memory())
        self.driver = Driver(
            Path(self._folder.name),
            random=self.random,
            clock=self.clock,
            audit=self.audit,
            faults=self.rates.driver,
        )
        if self.limits:
            self.audit.limits = limits.Rules()
            limits.declare(self)

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.driver.close()
        self._folder.cleanup()

    # ---- the run

    def run(self, steps: int) -> str:
        """Let ``steps`` steps happen, then end all faults and see every job end; return a digest of it all.

        Raises:
            SimulationFailed: with what happened last.
        """
        try:
            while self.steps < steps:
                self._step()
            self._come_to_rest(steps + self._patience)
        except Exception as exc:  # a bug of the ledger may show as any error: each must name seed and step
            reason = str(exc) if isinstance(exc, Violation) else f"{type(exc).__name__}: {exc}"
            raise SimulationFailed(
                self.seed, steps, self.steps, reason, tuple(map(_line, self._events))
            ) from exc
        return self._digest.hexdigest()

    def note(self, who: Any, what: str, *about: Any) -> None:
        """Remember an event, for the story of a failure."""
        event = (self.steps, f"{self.clock.seconds:.3f}", str(who), what, about)
        self._digest.update(repr(event).encode())
        self._events.append(event)

    def _step(self) -> None:
        self.steps += 1
        chance = self.random.random()
        if chance < self.rates.outsiders:
            self._outsider()()
        elif not self._befall(chance - self.rates.outsiders):
            self._somebody()
        self.clock.advance(self.random.expovariate(1 / 0.012))

    def _somebody(self) -> None:
        """One of all that can act does so; when nobody can, time passes until one can."""
        self._what_is_due()
        moves = [move for worker in self._workers for move in worker.moves()]
        if self._callers:
            moves.append(self._caller)
        if moves:
            self.random.choice(moves)()
            return
        moments = [worker.next_moment() for worker in self._workers]
        self.clock.advance(min(moments, default=0.0) - self.clock.seconds)

    def _what_is_due(self) -> None:
        self.broker.arrive()
        if self._outage_until and self._outage_until <= self.clock.seconds:
            self._outage_until, self.driver.faults = 0.0, self.rates.driver
        for doom in [doom for doom in self._doomed if doom[0] <= self.clock.seconds]:
            self._doomed.remove(doom)
            if doom[1] in self._workers:
                self._crash(doom[1])

    def _caller(self) -> None:
        caller = self.random.choice(self._callers)
        try:
            next(caller)
        except StopIteration:
            self._callers.remove(caller)

    def _come_to_rest(self, limit: int) -> None:
        """No further fault, no further wish: everything that was accepted must end."""
        self._outage_until = self.driver.faults = self.broker.faults = 0.0
        self._doomed.clear()
        for queue in sorted(self.audit.paused):
            self._resume(queue)
        if self.limits:
            for name in sorted(self.audit.limits.paused):
                limits.resume(self, name)
        self._workers_that_know_all()
        while self._callers or self.audit.open_jobs():
            if self.steps >= limit:
                raise Violation(f"{len(self.audit.open_jobs())} jobs never ended: {self._unended()}")
            self.steps += 1
            self._somebody()
            self.clock.advance(0.02)
        self.audit.compare(self.driver.table())
        with self.driver.setting() as connection:
            limits.require_nothing_in_use(self.ledger.in_use(connection, limits.NAMES))

    def _workers_that_know_all(self) -> None:
        for worker in self._workers:
            worker.tasks, worker.slowness = TASKS, 1.0
        while len([worker for worker in self._workers if not worker.stopping]) < 2:
            self._start_worker()

    def _unended(self) -> str:
        rows = [(job.hex[:6], self.audit.rows[job]) for job in self.audit.open_jobs()[:3]]
        return ", ".join(f"{job} {row.state} of {(row.worker or 'nobody')[:4]}" for job, row in rows)

    # ---- faults

    def _befall(self, chance: float) -> bool:
        rates = self.rates
        for rate, fault in (
            (rates.crash, self._crash),
            (rates.freeze, self._freeze),
            (rates.stop, self._stop),
            (rates.flush, self._flush),
            (rates.outage, self._outage),
            (rates.step, self._step_of_the_clock),
            (rates.restore, self._restore),
            (rates.pause, self._pause_or_resume),
            (rates.limits, lambda: limits.change(self)),
            (0.02 if len(self._workers) < WORKERS else 0.0, self._start_worker),
        ):
            if chance < rate:
                fault()
                return True
            chance -= rate
        return False

    def _start_worker(self) -> None:
        tasks = TASKS if self.random.random() < 0.75 else OLD_TASKS
        slowness = self.random.choice((0.3, 1.0, 1.0, 3.0))
        id = self._new_id()
        start = WorkerStart(
            id=id,
            hostname=f"celery@{id.hex[:4]}",
            pid=1,
            pool="prefork",
            concurrency=2,
            queues=list(QUEUES),
            tasks="all" if tasks is TASKS else "old",
            version="0",
            names=sorted(tasks),
        )
        try:
            with self.driver.transaction(id, "sign on") as connection:
                self.ledger.sign_on(connection, start)
        except DriverFault:
            return
        self._workers.append(Worker(self, start, tasks=tasks, slowness=slowness))
        self.note(self._workers[-1], "started")

    def _crash(self, worker: Worker | None = None) -> None:
        if self._workers:
            worker = worker or self.random.choice(self._workers)
            self.note(worker, "crashed")
            worker.die()
            self._workers.remove(worker)

    def _freeze(self) -> None:
        if self._workers:
            worker = self.random.choice(self._workers)
            until = self.clock.seconds + self.random.choice((1.0, 8.0, 20.0, 30.0))
            worker.frozen_until = max(worker.frozen_until, until)
            self.note(worker, f"frozen until {worker.frozen_until:.3f}")
            if self.random.random() < 0.3:
                self._doomed.append((worker.frozen_until + self.random.expovariate(2), worker))

    def _outage(self) -> None:
        """Most transactions fail for a while, or are made and their answers lost."""
        self._outage_until = self.clock.seconds + self.random.uniform(1, 15)
        self.driver.faults = 0.8
        self.note("database", f"out until {self._outage_until:.3f}")

    def _step_of_the_clock(self) -> None:
        """The database's clock is set; a resumed machine, a failover, an administrator."""
        seconds = self.random.choice((-60.0, -15.0, -2.0, 2.0, 15.0, 60.0))
        self.clock.step(seconds)
        self.note("database", f"its clock steps by {seconds:g} s")

    def _restore(self) -> None:
        """The row of a worker is gone, as after a failover to older data."""
        if self._workers:
            worker = self.random.choice(self._workers)
            self.driver.forget_worker(worker.id)
            self.note(worker, "has no row")

    @property
    def pauses(self) -> bool:
        """Whether anything is ever paused here."""
        return self.rates.pause > 0

    def _taken(self) -> tuple[tuple[Permit, ...], ...]:
        return limits.TAKEN_PACED if self.rates.paced else limits.TAKEN

    @property
    def limits(self) -> bool:
        """Whether jobs take permits here."""
        return self.rates.limits > 0

    def _pause_or_resume(self) -> None:
        queue = self.random.choice(QUEUES)
        if queue in self.audit.paused:
            self._resume(queue)
            return
        self.driver.pause(queue)
        self.audit.paused.add(queue)
        self.note("operator", f"paused {queue}")

    def _resume(self, queue: str) -> None:
        self.driver.resume(queue)
        self.audit.paused.remove(queue)
        self.note("operator", f"resumed {queue}")

    def buried(self, id: UUID) -> None:
        """Somebody says that a worker is dead: not before it was silent for long enough."""
        for worker in self._workers:
            if worker.id == id and self.clock.seconds - worker.keeper.last_beat < SILENCE:
                raise Violation(f"{worker} was buried alive")

    def _stop(self) -> None:
        if self._workers:
            worker = self.random.choice(self._workers)
            worker.stopping = True
            self.note(worker, "told to stop")

    def ended(self, worker: Worker) -> None:
        self.note(worker, "ended")
        self._workers.remove(worker)

    def _flush(self) -> None:
        self.note("broker", "flushed")
        self.broker.flush()
        self.results.clear()

    # ---- those who want something

    def _outsider(self) -> Callable[[], None]:
        busy = len(self.audit.open_jobs()) > OPEN_JOBS
        wishes = [self._produce, self._cancel, self._replay, self._prune, self._stray]
        return self.random.choices(wishes, (0 if busy else 12, 2, 2, 1, 1))[0]

    def _produce(self) -> None:
        if len(self._callers) < 10:
            self._callers.append(self._producer())

    def _producer(self) -> Iterator[None]:
        """Rows, then messages; it may fall in between, and then only strand detection knows of them."""
        jobs = [self.new_job() for _ in range(self.random.choice((1, 1, 3)))]
        if self._ids and self.random.random() < 0.05:
            known = self.random.choice(self._ids)
            if known in self.audit.rows:
                jobs.append(self.new_job(known))  # the same id from anywhere else
        if self.random.random() < 0.1:
            self._roll_back(jobs)
            return
        yield
        for _ in range(2):  # what was refused or is uncertain is tried once more, with the same ids
            try:
                with self.driver.transaction(None, "enqueue") as connection:
                    self.ledger.enqueue(connection, jobs)
                break
            except DriverFault as fault:
                self.note("producer", f"enqueue failed at {fault}", *[job.id for job in jobs])
        else:
            return
        self.note("producer", "enqueued", *[job.id for job in jobs])
        self.accepted.update(job.id for job in jobs)
        if any(job.id not in self.audit.rows for job in jobs):
            raise Violation("an accepted job has no row")
        self._ids.extend(job.id for job in jobs)
        yield
        if self.random.random() < 0.1:
            self.note("producer", "fell before it published")
            return
        yield from self._publish([job for job in jobs if job.dispatch_count])

    def _roll_back(self, jobs: list[NewJob]) -> None:
        new = [job for job in jobs if job.id not in self.audit.rows]
        self.audit.refused.update(job.id for job in new)
        self.note("producer", "rolled back", *[job.id for job in new])
        try:
            with self.driver.transaction(None, "enqueue") as connection:
                self.ledger.enqueue(connection, jobs)
                raise DriverFault("rollback")
        except DriverFault:
            pass

    def _publish(self, jobs: list[NewJob]) -> Iterator[None]:
        try:
            for job in jobs:
                self.broker.publish(Message(job.id, job.job_type, job.queue))
        except BrokerFault:
            yield
            try:
                with self.driver.transaction(None, "unmark") as connection:
                    self.ledger.unmark(connection, [job.id for job in jobs])
            except DriverFault:
                self.note("producer", "could not clear the mark")

    def _cancel(self) -> None:
        wanted = self._some()
        mode = self.random.choice((Mode.SOFT, Mode.HARD))
        try:
            with self.driver.transaction(None, "cancel") as connection:
                answers = self.ledger.cancel(connection, wanted, mode=mode)
        except DriverFault:
            return
        self.note("operator", f"cancelled ({mode})", *wanted)
        for job, answer in answers.items():
            if answer is Answer.CANCELLED and self.audit.rows[job].state != "cancelled":
                raise Violation(
                    f"job {job.hex[:6]}: said to be cancelled and is {self.audit.rows[job].state}"
                )

    def _replay(self) -> None:
        wanted = self._some()
        try:
            with self.driver.transaction(None, "replay") as connection:
                self.ledger.replay(connection, wanted)
        except DriverFault:
            return
        self.note("operator", "replayed", *wanted)

    def _prune(self) -> None:
        state = self.random.choice((JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED))
        try:
            with self.driver.transaction(None, "prune") as connection:
                self.ledger.prune(connection, state, age=RETENTION, limit=20)
                self.ledger.prune_workers(connection, age=RETENTION * 10)
        except DriverFault:
            pass

    def _stray(self) -> None:
        """A message whose row was pruned or rolled back, or never was."""
        refused = next(iter(self.audit.refused), None)
        pruned = next((job for job in self._ids if job not in self.audit.rows), None)
        job = self.random.choice((refused, pruned, None)) or self._new_id()
        self.broker.queues["normal"].append(Message(job, "mail.send", "normal"))

    def _some(self) -> list[UUID]:
        known = [self.random.choice(self._ids) for _ in range(2)] if self._ids else []
        return list(dict.fromkeys([*known, self._new_id()]))

    # ---- new things

    def _new_id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128))

    def new_job(self, id: UUID | None = None) -> NewJob:
        random = self.random
        id = id or self._new_id()
        queue = random.choice(QUEUES)
        return NewJob(
            id=id,
            job_type="report.build" if random.random() < 0.2 else "mail.send",
            queue=queue,
            priority=20 if queue == "high" else 10,
            payload=b"[[], {}, {}]",
            content_type="application/json",
            content_encoding="utf-8",
            headers={},
            max_tries=random.randint(1, 4),
            delay=random.choice((0.0, 0.0, 0.0, 0.5, 10.0)),
            expires_in=random.choice((None, None, None, None, 4.0)),
            send=random.random() < 0.9,
            permits=random.choice(limits.TAKEN_PACED if self.rates.paced else limits.TAKEN)
            if self.limits and random.random() < 0.6
            else (),
        )


def _line(event: tuple[Any, ...]) -> str:
    step, seconds, who, what, about = event
    named = " ".join(item.hex[:6] if isinstance(item, UUID) else str(item) for item in about)
    return f"step {step}, {seconds} s: {who} {what} {named}".rstrip()
