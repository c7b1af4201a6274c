"""The job that ends and the next of its line in one transaction; on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, make_url, select

from celeriac import Breaker, Limit, OrderedBy
from celeriac.application import Celeriac
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.one_trip import transaction_of_trips
from celeriac.ledger.limits import limit_rows, lines
from celeriac.ledger.limits.handing_on import HandedOn, hand_on, may_hand_on
from celeriac.ledger.schema.holding import PauseKind
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.limit_tables import LINES
from celeriac.ledger.upkeep import pause_rows
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.ledger.writes.turn import complete_and_claim
from celeriac.operate.job import Answer, cancel, job
from celeriac.settings.platform import Settings
from celeriac.worker.duties.admitter import Admitter
from tests.apps import build
from tests.limits_by_hand import ME, ByHand

ONE = ("one:",)


class Desk(ByHand):
    def __init__(self, app: Celeriac) -> None:
        super().__init__(app)
        other, tenant = Limit("other", concurrency=2), Limit("tenant", concurrency=1, key="tenant")

        @app.task(name="plain", limit=Limit("one", concurrency=2), shared=False)
        def plain() -> None: ...

        @app.task(name="heavy", limit=Limit("one", concurrency=2, weight=2), shared=False)
        def heavy() -> None: ...

        @app.task(name="both", limit=[other, tenant], shared=False)
        def both(tenant: str) -> None: ...

        @app.task(name="keyed", limit=tenant, shared=False)
        def keyed(tenant: str) -> None: ...

        self.plain, self.heavy, self.both, self.keyed = plain, heavy, both, keyed
        self.names = ("plain", "heavy", "both", "keyed")
        self.declare()

    def running(self, count: int, call: Any) -> list[str]:
        """So many jobs that wait behind those which run; these come first."""
        given = [call() for _ in range(count)]
        self.look()
        admitted = self.admit_all()
        assert len(self.claim(*admitted)) == len(admitted)
        return admitted + [id for id in given if id not in admitted]

    def hand_on(self, ended: Sequence[str], permits: Sequence[str] = ONE, **options: Any) -> HandedOn:
        database, attempt = options.get("database", self.database), options.get("attempt", 1)
        done = [Outcome(id=UUID(id), attempt=attempt, state=JobState.COMPLETED) for id in ended]
        step = complete_and_claim.step(done, [], worker=ME)
        with self.database.reading() as connection:
            limits = limit_rows.read(connection)
        with transaction_of_trips(database, idle=30) as connection:
            return hand_on(connection, step, [permits] * len(ended), limits)

    def turn(self) -> int:
        """Of the only line."""
        with self.database.reading() as connection:
            return int(connection.execute(select(LINES.c.turn)).scalar_one())

    def state(self, id: str) -> JobState:
        return job(id, app=self.app).state


@pytest.fixture
def desk(redis_url: str, postgres_url: str) -> Iterator[Desk]:
    settings = Settings(database_url=postgres_url, broker_url=redis_url)
    with closing(build(settings, set_as_current=False)) as app:
        yield Desk(app)


def ids(handed: HandedOn) -> list[str]:
    return [str(message.id) for message in handed.messages]


def test_the_next_of_the_line_gets_the_permit_of_the_job_that_ends(desk: Desk) -> None:
    first, second, third, fourth, fifth = desk.running(5, lambda: desk.plain.delay().id)
    handed = desk.hand_on([first, second])
    assert (ids(handed), handed.done) == ([third, fourth], {"one:"})
    assert desk.state(first) is desk.state(second) is JobState.COMPLETED
    assert desk.used("one:") == 2, "no more than there is room for"
    assert desk.admit() == [], "the line is blocked again"
    assert set(desk.claim(third, fourth, fifth)) == {third, fourth}
    assert ids(desk.hand_on([third])) == [fifth]


def test_one_that_ends_beside_another_that_runs_hands_one_permit_on(desk: Desk) -> None:
    first, _, third, _ = desk.running(4, lambda: desk.plain.delay().id)
    assert ids(desk.hand_on([first])) == [third]
    assert desk.used("one:") == 2, "as many as the limit holds"


def test_where_nothing_waits_the_job_has_ended_all_the_same(desk: Desk) -> None:
    (only,) = desk.running(1, lambda: desk.plain.delay().id)
    handed = desk.hand_on([only])
    assert (handed.messages, handed.done) == ([], frozenset())
    assert desk.state(only) is JobState.COMPLETED


def test_a_line_that_runs_out_is_left_to_be_looked_at(desk: Desk) -> None:
    first, second, third = desk.running(3, lambda: desk.plain.delay().id)
    handed = desk.hand_on([first, second])
    assert (ids(handed), handed.done) == ([third], frozenset()), "there is room for more"
    late = desk.plain.delay().id
    desk.look()
    assert desk.admit() == [late]


def test_a_key_that_another_has_locked_is_not_waited_for(desk: Desk, postgres_url: str) -> None:
    first, second, third = desk.running(3, lambda: desk.plain.delay().id)
    with closing(Database(make_url(postgres_url))) as other, other.transaction() as connection:
        lines.lock_keys(connection, ONE)
        handed = desk.hand_on([first])
        assert (handed.messages, handed.done) == ([], frozenset())
        assert desk.state(first) is JobState.COMPLETED
    desk.wake(first)
    assert desk.admit() == [third]
    assert second


def test_where_other_lines_wait_the_turn_decides(desk: Desk) -> None:
    a1, b1, *_ = desk.running(2, iter([desk.both.delay("a").id, desk.both.delay("b").id]).__next__)
    waits = [desk.both.delay(tenant).id for tenant in "ac"]
    desk.look()
    assert desk.admit() == [], "a has one, and the two of all are in use"
    handed = desk.hand_on([a1], ("other:", "tenant:a"))
    assert (handed.messages, handed.done) == ([], frozenset()), "c waits for the limit of all"
    desk.wake(a1)
    assert len(desk.admit()) == 1
    assert waits
    assert b1


def test_a_limit_that_was_paused_since_gives_nothing_on(desk: Desk) -> None:
    first, *_ = desk.running(3, lambda: desk.plain.delay().id)
    with desk.database.transaction() as connection:
        limit_rows.pause(connection, "one", who="ann", reason=None)
    assert desk.hand_on([first]).messages == []
    with desk.database.transaction() as connection:
        limit_rows.resume(connection, "one")
        limit_rows.change(connection, "one", set_concurrency=1)
        lines.wake_all(connection, "one")
    assert desk.admit() == [], "one is in use, of one"


def test_a_heavy_job_gets_nothing_until_all_that_it_takes_is_free(desk: Desk) -> None:
    first, second = desk.running(2, lambda: desk.plain.delay().id)
    heavy, light, last = desk.heavy.delay().id, desk.plain.delay().id, desk.plain.delay().id
    desk.look()
    assert desk.admit() == []
    handed = desk.hand_on([first])
    assert (ids(handed), handed.done) == ([], {"one:"}), "no lighter job passes it"
    assert ids(desk.hand_on([second])) == [heavy]
    assert desk.used("one:") == 2
    assert list(desk.claim(heavy)) == [heavy]
    assert ids(desk.hand_on([heavy])) == [light, last]


def test_the_more_important_of_a_line_is_next(desk: Desk) -> None:
    first, _ = desk.running(2, lambda: desk.plain.delay().id)
    low, *_, high = (desk.plain.apply_async(priority=level).id for level in (10, 10, 10, 10, 60))
    desk.look()
    assert desk.admit() == []
    assert ids(desk.hand_on([first])) == [high]
    assert list(desk.claim(high)) == [high]
    assert ids(desk.hand_on([high])) == [low]


def test_a_permit_is_of_its_key(desk: Desk) -> None:
    tenants = ("a", "b", "a", "b")
    jobs = [desk.keyed.delay(tenant).id for tenant in tenants]
    desk.look()
    assert sorted(desk.admit_all()) == sorted(jobs[:2])
    assert len(desk.claim(*jobs[:2])) == 2
    handed = desk.hand_on([jobs[1]], ("tenant:b",))
    assert ids(handed) == [jobs[3]], "a waits for its own"
    assert (desk.used("tenant:a"), desk.used("tenant:b")) == (1, 1)


def test_all_the_limits_of_a_job_are_handed_on_together(desk: Desk) -> None:
    first, second = desk.running(2, lambda: desk.both.delay("a").id)
    handed = desk.hand_on([first], ("other:", "tenant:a"))
    assert ids(handed) == [second]
    assert (desk.used("other:"), desk.used("tenant:a")) == (1, 1)


def test_a_job_of_several_limits_needs_all_of_them(desk: Desk) -> None:
    a, b, *_ = desk.running(3, iter([desk.both.delay(tenant).id for tenant in "aba"]).__next__)
    with desk.database.transaction() as connection:
        limit_rows.change(connection, "other", set_concurrency=1)
    assert desk.hand_on([a], ("other:", "tenant:a")).messages == [], "b has the only one of all"
    assert desk.used("other:") == 1
    assert b


@pytest.mark.parametrize("busy", ["other:", "tenant:a"])
def test_where_one_of_its_keys_is_locked_a_job_gets_none(desk: Desk, postgres_url: str, busy: str) -> None:
    first, second = desk.running(2, lambda: desk.both.delay("a").id)
    with closing(Database(make_url(postgres_url))) as other, other.transaction() as connection:
        lines.lock_keys(connection, [busy])
        handed = desk.hand_on([first], ("other:", "tenant:a"))
    assert (handed.messages, handed.done) == ([], frozenset())
    assert second


def test_where_one_of_its_limits_was_paused_a_job_gets_none(desk: Desk) -> None:
    first, second = desk.running(2, lambda: desk.both.delay("a").id)
    with desk.database.transaction() as connection:
        limit_rows.pause(connection, "other", who="ann", reason=None)
    handed = desk.hand_on([first], ("other:", "tenant:a"))
    assert (handed.messages, handed.done) == ([], frozenset())
    assert second


def _lower(connection: Connection) -> None:
    limit_rows.change(connection, "one", set_concurrency=1)


def _pace(connection: Connection) -> None:
    limit_rows.change(connection, "one", set_rate="1/h")


def _rest(connection: Connection) -> None:
    lines.rest(connection, ONE, seconds=3600)


def _break(connection: Connection) -> None:
    limit_rows.declare(connection, [Limit("one", concurrency=2, breaker=Breaker())])


def _pause_queue(connection: Connection) -> None:
    pause_rows.pause(connection, PauseKind.QUEUE, ["normal"], who="ann", reason=None)


def _pause_task(connection: Connection) -> None:
    pause_rows.pause(connection, PauseKind.TASK, ["plain"], who="ann", reason=None)


@pytest.mark.parametrize("change", [_lower, _pace, _rest, _break, _pause_queue, _pause_task])
def test_what_was_said_since_the_job_began_holds(desk: Desk, change: Callable[[Connection], None]) -> None:
    first, _, third = desk.running(3, lambda: desk.plain.delay().id)
    with desk.database.transaction() as connection:
        change(connection)
    assert desk.hand_on([first]).messages == []
    assert desk.state(first) is JobState.COMPLETED
    assert desk.used("one:") == 1, "of the second job alone"
    assert list(desk.claim(third)) == []


def test_a_job_that_was_cancelled_gets_nothing(desk: Desk) -> None:
    first, _, third, fourth = desk.running(4, lambda: desk.plain.delay().id)
    assert cancel(third, app=desk.app) is Answer.CANCELLED
    assert ids(desk.hand_on([first])) == [fourth]
    assert desk.used("one:") == 2


def test_a_job_that_is_not_due_gets_nothing(desk: Desk) -> None:
    first, _ = desk.running(2, lambda: desk.plain.delay().id)
    delayed = desk.plain.apply_async(countdown=3600).id
    due = desk.plain.delay().id
    desk.look()
    assert desk.admit() == []
    assert ids(desk.hand_on([first])) == [due]
    assert list(desk.claim(due)) == [due]
    assert ids(desk.hand_on([due])) == []
    assert desk.state(delayed) is JobState.PENDING


def test_an_outcome_that_is_refused_hands_nothing_on(desk: Desk) -> None:
    """The attempt is not the worker's any more: another has it, and its permit."""
    first, *_ = desk.running(3, lambda: desk.plain.delay().id)
    assert desk.hand_on([first], attempt=2).messages == []
    assert desk.state(first) is JobState.RUNNING
    assert desk.used("one:") == 2


def test_a_line_that_another_looks_at_is_left_to_it(desk: Desk, postgres_url: str) -> None:
    first, _, third = desk.running(3, lambda: desk.plain.delay().id)
    with closing(Database(make_url(postgres_url))) as other, other.transaction() as connection:
        connection.execute(select(LINES).with_for_update())
        handed = desk.hand_on([first])
        assert (handed.messages, handed.done) == ([], frozenset())
    desk.wake(first)
    assert desk.admit() == [third]


def test_the_line_goes_behind_others_of_its_permit(desk: Desk) -> None:
    """What was handed on counts as its turn."""
    first, _, _ = desk.running(3, lambda: desk.plain.delay().id)
    before = desk.turn()
    assert len(desk.hand_on([first]).messages) == 1
    assert desk.turn() > before


def test_what_fails_is_undone_as_a_whole(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from celeriac.ledger.limits import handing_on

    first, _, third = desk.running(3, lambda: desk.plain.delay().id)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(handing_on, "decide", fail)
        desk.hand_on([first])
    assert desk.state(first) is JobState.RUNNING
    assert ids(desk.hand_on([first])) == [third]


def test_many_that_end_at_once_never_exceed_the_limit(desk: Desk, postgres_url: str) -> None:
    running = desk.running(60, lambda: desk.plain.delay().id)[:2]
    barrier, most, ended = threading.Barrier(2), [], []

    def end_one_after_the_other(id: str) -> None:
        with closing(Database(make_url(postgres_url))) as database:
            barrier.wait()
            current: list[str] = [id]
            while current:
                found = ids(desk.hand_on(current, database=database))
                ended.extend(current)
                most.append(desk.used("one:"))
                found += desk.admit()  # what the other left
                current = list(desk.claim(*found)) if found else []

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(end_one_after_the_other, running))
    while rest := desk.admit():
        ended += desk.claim(*rest)
        for id in rest:
            desk.end(id)
    assert max(most) <= 2
    assert len(ended) == len(set(ended)), "none was given twice"


@pytest.mark.parametrize(
    ("limit", "permits", "may"),
    [
        (Limit("one", concurrency=10), ["one:"], True),
        (Limit("one", concurrency=2, key="x"), ["one:7"], True),
        (Limit("one", concurrency=1000), ["one:"], False),
        (Limit("one", concurrency=2, rate="9/s"), ["one:"], False),
        (Limit("one", rate="9/s"), ["one:"], False),
        (Limit("one", concurrency=2, breaker=Breaker()), ["one:"], False),
        (Limit("one", concurrency=2), ["two:"], False),
        (Limit("one", concurrency=2), ["one:", "ordered/x:1"], False),
        (Limit("one", concurrency=2), [], False),
    ],
)
def test_which_permits_may_be_handed_on(desk: Desk, limit: Limit, permits: list[str], may: bool) -> None:
    with desk.database.transaction() as connection:
        limit_rows.declare(connection, [limit])
        assert may_hand_on(permits, limit_rows.read(connection)) is may


def test_an_order_is_not_handed_on(desk: Desk) -> None:
    """What is next of a key the order says, and not the line."""
    limits = [Limit("one", concurrency=2), OrderedBy("x", within="books")._limit("book")]
    with desk.database.transaction() as connection:
        limit_rows.declare(connection, limits)
        known = limit_rows.read(connection)
    assert may_hand_on(["one:"], known)
    assert not may_hand_on(["ordered/books:1"], known)
    assert not may_hand_on(["ordered/books:1", "one:"], known)


def test_what_was_admitted_while_a_worker_stops_is_sent(desk: Desk) -> None:
    first, _, third = desk.running(3, lambda: desk.plain.delay().id)
    admitter = Admitter(desk.app, desk.database, worker=ME, limits=())
    admitter.run()
    assert set(admitter.known_limits()) == {"one", "other", "tenant"}
    admitter.close()
    assert admitter.known_limits() == {}, "nothing more is handed on"
    admitter.admitted(desk.hand_on([first]).messages)
    with desk.app.connection_for_read() as connection:
        assert connection.default_channel.client.llen("normal") == 1
    assert third
