"""Permits that are given back go to who waits for them, in one transaction; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from sqlalchemy import Connection, make_url, select

from celeriac import Limit
from celeriac.application import Celeriac
from celeriac.ledger.connection.database import Database
from celeriac.ledger.limits import admission, limit_rows, lines
from celeriac.ledger.schema.limit_tables import LINES
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.limits_by_hand import ByHand


class Desk(ByHand):
    def __init__(self, app: Celeriac) -> None:
        super().__init__(app)
        one = Limit("one", concurrency=1)
        tenant = Limit("tenant", concurrency=1, key="tenant")

        @app.task(name="plain", limit=one, shared=False)
        def plain() -> None: ...

        @app.task(name="both", limit=[Limit("other", concurrency=2), tenant], shared=False)
        def both(tenant: str) -> None: ...

        self.plain, self.both = plain, both
        self.names = ("plain", "both")
        self.declare()

    def hand_on(self, *permits: str) -> list[str]:
        with self.database.transaction() as connection:
            return hand_on(connection, *permits)

    def run(self, *ids: str) -> None:
        assert len(self.claim(*ids)) == len(ids)


def hand_on(connection: Connection, *permits: str) -> list[str]:
    found = admission.admit(connection, limit_rows.read(connection), freed=permits)
    return [str(message.id) for message in found]


def make_keys(desk: Desk, *permits: str) -> None:
    with desk.database.transaction() as connection:
        lines.lock_keys(connection, permits)


@pytest.fixture
def desk(redis_url: str, database_url: str) -> Iterator[Desk]:
    settings = Settings(database_url=database_url, broker_url=redis_url)
    with closing(build(settings, set_as_current=False)) as app:
        yield Desk(app)


def test_what_was_given_back_is_admitted_by_the_same_transaction(desk: Desk) -> None:
    first, second, _ = (desk.plain.delay().id for _ in range(3))
    desk.look()
    assert desk.admit_all() == [first]
    desk.run(first)
    assert desk.hand_on("one:") == [], "it runs still"
    desk.end_quietly(first)
    assert desk.hand_on("one:") == [second]
    assert desk.hand_on("one:") == [], "no more than there is room for"
    assert desk.used("one:") == 1


def test_a_line_of_several_permits_goes_if_all_of_them_are_free(desk: Desk) -> None:
    first = desk.both.delay("a").id
    second = desk.both.delay("a").id
    desk.look()
    assert desk.admit_all() == [first]
    desk.run(first)
    desk.end_quietly(first)
    assert desk.hand_on("tenant:a", "other:") == [second]


def test_what_another_has_locked_is_left_to_the_next_look(redis_url: str, postgres_url: str) -> None:
    """Each of the two holds what was given back to it, and is due for what the other holds: no deadlock."""
    settings = Settings(database_url=postgres_url, broker_url=redis_url)
    with closing(build(settings, set_as_current=False)) as app, ExitStack() as stack:
        desk = Desk(app)
        given = {tenant: desk.both.delay(tenant).id for tenant in ("a", "b")}
        desk.look()
        make_keys(desk, "other:", "tenant:a", "tenant:b")
        databases = [stack.enter_context(closing(Database(make_url(postgres_url), pool=1))) for _ in range(2)]
        one, other = (stack.enter_context(database.transaction(idle=30)) for database in databases)
        lines.wake(one, {"tenant:a": 9})
        lines.wake(other, {"tenant:b": 9})
        front = admission.Front()
        limits = limit_rows.read(one)
        found = admission.admit(one, limits, freed=["tenant:a"], front=front)
        assert [str(message.id) for message in found] == [given["a"]]
        assert front.is_more, "the line of b is due, and is looked at again"
        one.exec_driver_sql("COMMIT")
        one.exec_driver_sql("BEGIN")
        assert hand_on(other, "tenant:b") == [given["b"]]


def test_lines_that_are_left_keep_their_place(redis_url: str, postgres_url: str) -> None:
    settings = Settings(database_url=postgres_url, broker_url=redis_url)
    with closing(build(settings, set_as_current=False)) as app, ExitStack() as stack:
        desk = Desk(app)
        desk.both.delay("b")
        desk.look()
        with desk.database.reading() as connection:
            before = connection.execute(select(LINES)).one()
        make_keys(desk, "one:", "other:", "tenant:b")
        holder = stack.enter_context(closing(Database(make_url(postgres_url), pool=1)))
        with holder.transaction() as connection:
            lines.lock_keys(connection, ["tenant:b"])
            assert desk.hand_on("one:") == []
        with desk.database.reading() as connection:
            assert connection.execute(select(LINES)).one() == before
