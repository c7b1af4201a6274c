"""Limits in the simulated world: what jobs take of them, the duty that admits, and what must hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.limits.limit import Limit
from celeriac.limits.order import STEP_ASIDE, OrderLimit
from celeriac.limits.permits import Permit, is_order, limit_of
from tests.simulation import broker
from tests.simulation.audit import TERMINAL, Row, Violation
from tests.simulation.broker import BrokerFault

if TYPE_CHECKING:
    from tests.simulation.keeper import Keeper
    from tests.simulation.world import World

FEW, TENANT = Limit("few", concurrency=2), Limit("tenant", concurrency=1, key="id")
HOLDING = OrderLimit("ordered/accounts", concurrency=1, key="id")
PASSING = OrderLimit("ordered/mails", concurrency=1, key="id", on_failure=STEP_ASIDE)
PACED = Limit("paced", rate="30/m", burst=1)
DECLARED = (FEW, TENANT, HOLDING, PASSING, PACED)

#: What jobs take, one of these each; most take nothing.
TAKEN: tuple[tuple[Permit, ...], ...] = (
    (Permit("few:", 1),),
    (Permit("few:", 2),),
    (Permit("tenant:a", 1),),
    (Permit("tenant:b", 1), Permit("few:", 1)),
    (Permit("ordered/accounts:7", 1),),
    (Permit("ordered/accounts:8", 1), Permit("few:", 1)),
    (Permit("ordered/mails:7", 1),),
)

#: And where rates are simulated, too.
TAKEN_PACED = (*TAKEN, *[(Permit("paced:", 1),)] * 8)

#: Of these, starts in any window of so many seconds: the rate, and its burst.
WINDOW, MOST_STARTS = 10.0, 6

NAMES = frozenset(permit.name for each in TAKEN for permit in each)

EVERY = 0.3  # seconds between two looks
SEARCH = 5.0  # seconds between two searches for what nobody has woken
LATELY = 3.0  # seconds that a look goes back
MOST = 50


class Rules:
    """What the limits are now, and whether an admission obeys them."""

    def __init__(self) -> None:
        self.holds = {limit.name: limit.concurrency or 0 for limit in DECLARED}
        self.paused: set[str] = set()
        self._starts: list[int] = []  # of what has a rate, in microseconds

    def start(self, row: Row, now: int) -> str | None:
        """Why ``row`` may not start now, though it did; None: it may."""
        if not is_paced(row):
            return None
        self._starts = [start for start in self._starts if start > now - WINDOW * 1e6] + [now]
        if len(self._starts) > MOST_STARTS:
            return f"{len(self._starts)} starts in {WINDOW:g} s"
        return None

    def judge(self, rows: Mapping[UUID, Row], job: UUID, row: Row, doing: str) -> str | None:
        """Why ``row`` may not be sent now, though it was; None: it may.

        Args:
            rows: all of them, as they were before.
        """
        if doing != "admit":
            return f"sent by {doing}, and nobody has admitted it"
        sent = [
            other
            for id, other in rows.items()
            if id != job and other.dispatched is not None and other.state not in TERMINAL
        ]
        for name, weight in row.takes().items():
            if limit_of(name) == PACED.name:
                continue  # any number may be on their way
            if limit_of(name) in self.paused:
                return f"admitted while {name} was paused"
            used = sum(other.takes().get(name, 0) for other in sent)
            most = self.holds[limit_of(name)]
            if used and used + weight > most:  # what is too heavy for a lowered limit runs alone
                return f"{used + weight} in use of {most} for {name}"
        return self._out_of_order(rows, job, row)

    @staticmethod
    def _out_of_order(rows: Mapping[UUID, Row], job: UUID, row: Row) -> str | None:
        mine = row.permit_1
        if mine is None or not is_order(mine):
            return None
        passes = limit_of(mine) == PASSING.name
        for id, other in rows.items():
            if id == job or other.permit_1 != mine or other.state in TERMINAL:
                continue
            waits = other.dispatched is None and (other.state == "error" or other.due > row.dispatched)
            if (other.queued, id.hex) < (row.queued, job.hex) and not (passes and waits):
                return f"job {id.hex[:6]} was accepted before it and has not ended"
        return None


def is_paced(row: Row) -> bool:
    """Whether it has a rate."""
    return any(limit_of(name) == PACED.name for name in row.takes())


class Admission:
    """The duty of ``celeriac.worker.duties.admitter``; each ``yield`` is where others may come between."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._world: World = keeper.world
        self._searched_at = -SEARCH
        self._line: UUID | None = None
        self._permit = ""
        self.freed: set[str] = set()

    def run(self) -> Iterator[None]:
        ledger, driver, worker = self._world.ledger, self._world.driver, self._keeper.worker
        with driver.transaction(worker.id, "read limits") as connection:
            limits = ledger.read_limits(connection)
            leads = ledger.lead(connection, worker.id, within=2.0)
        freed, self.freed = self.freed, set()
        if leads:
            yield
            with driver.transaction(worker.id, "look") as connection:
                ledger.arrived(connection, lately=LATELY)
            if self._world.clock.seconds - self._searched_at >= SEARCH:
                yield
                self._search(limits)
        if leads or freed:
            yield
            yield from self._admit(limits, freed)

    def _search(self, limits: Mapping[str, KnownLimit]) -> None:
        ledger, driver, worker = self._world.ledger, self._world.driver, self._keeper.worker
        with driver.transaction(worker.id, "search") as connection:
            self._line = ledger.find_forgotten(connection, beyond=self._line, most=MOST)
            permits = ledger.blocked_permits(connection, beyond=self._permit, most=MOST)
            used = ledger.in_use(connection, permits)
            if free := [name for name in permits if used.get(name, 0) < (limits[limit_of(name)].holds or 0)]:
                ledger.wake(connection, dict.fromkeys(free, MOST))
        self._permit = permits[-1] if len(permits) >= MOST else ""
        self._searched_at = self._world.clock.seconds

    def _admit(self, limits: Mapping[str, KnownLimit], freed: set[str]) -> Iterator[None]:
        ledger, world, worker = self._world.ledger, self._world, self._keeper.worker
        with world.driver.transaction(worker.id, "admit") as connection:
            messages = ledger.admit(connection, limits, most=5, freed=freed)
        yield
        try:
            for message in messages:
                world.note(worker, "admitted", message.id)
                world.broker.publish(broker.Message(message.id, message.job_type, message.queue))
        except BrokerFault:
            yield
            with world.driver.transaction(worker.id, "unmark") as connection:
                ledger.unmark(connection, [message.id for message in messages])


def declare(world: World) -> None:
    with world.driver.setting() as connection:
        world.ledger.declare_limits(connection, DECLARED)


def change(world: World) -> None:
    """An operator pauses or resumes a limit, or sets another number."""
    rules, name = world.audit.limits, world.random.choice((FEW.name, FEW.name, TENANT.name))
    if name in rules.paused:
        resume(world, name)
    elif world.random.random() < 0.4:
        with world.driver.setting() as connection:
            world.ledger.pause_limit(connection, name, who="ann", reason=None)
        rules.paused.add(name)
        world.note("operator", f"paused limit {name}")
    else:
        rules.holds[name] = world.random.choice((1, 2, 3))
        with world.driver.setting() as connection:
            world.ledger.change_limit(connection, name, set_concurrency=rules.holds[name])
            world.ledger.wake_all(connection, name)
        world.note("operator", f"set limit {name} to {rules.holds[name]}")


def resume(world: World, name: str) -> None:
    with world.driver.setting() as connection:
        world.ledger.resume_limit(connection, name)
        world.ledger.wake_all(connection, name)
    world.audit.limits.paused.remove(name)
    world.note("operator", f"resumed limit {name}")


def require_nothing_in_use(counted: Mapping[str, int]) -> None:
    """
    Raises:
        Violation: every job has ended, and a permit was kept.
    """
    if kept := {name: used for name, used in counted.items() if used}:
        raise Violation(f"permits are in use of nobody: {kept}")
