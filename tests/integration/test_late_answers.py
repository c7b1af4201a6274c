"""The broker's answer to a call is read when the next one follows at once; what it refused is sent later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import select

from celeriac import Celeriac
from celeriac.broker import push_connection
from celeriac.ids import parse_row_id
from celeriac.ledger.schema.models import JOBS
from tests.servers import ValkeyServer
from tests.support import wait_until

FOR_EVER = 3600.0


@pytest.fixture
def app(private_valkey: ValkeyServer, database_url: str) -> Iterator[Celeriac]:
    made = Celeriac("late", broker=private_valkey.url(), ledger=database_url, set_as_current=False)
    with closing(made):
        made.task(name="late.noop", shared=False)(noop)
        yield made


def noop() -> None: ...


def was_sent(app: Celeriac, id: str) -> bool:
    """Whether its row says so."""
    with app.database.reading() as connection:
        found = connection.execute(select(JOBS.c.dispatched).where(JOBS.c.id == parse_row_id(id)))
        return found.scalar_one() is not None


def pushing(app: Celeriac) -> Any:
    """The connection of the last call."""
    return app.amqp.kept_producers._kept[-1].channel._pushing


def test_a_call_by_itself_waits_for_the_answer(app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_connection, "_CLOSELY", -1.0)
    task = app.tasks["late.noop"]
    task.delay()
    task.delay()
    assert pushing(app)._unread is None


def test_calls_in_a_row_all_arrive(
    app: Celeriac, private_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_connection, "_CLOSELY", FOR_EVER)
    task = app.tasks["late.noop"]
    results = [task.delay() for _ in range(20)]
    assert pushing(app)._unread is not None
    with private_valkey.client() as client:
        assert client.llen("normal") == 20
    assert all(was_sent(app, result.id) for result in results)


def test_what_was_refused_is_left_to_the_dispatcher(
    app: Celeriac, private_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_connection, "_CLOSELY", FOR_EVER)
    task = app.tasks["late.noop"]
    taken = [task.delay() for _ in range(2)]
    private_valkey.configure(maxmemory=1)
    refused = task.delay()
    assert was_sent(app, refused.id)  # as far as is known
    private_valkey.configure(maxmemory=0)
    following = task.delay()  # reads the answer, and is sent with another connection
    assert not was_sent(app, refused.id)
    assert [was_sent(app, each.id) for each in (*taken, following)] == [True] * 3
    with private_valkey.client() as client:
        assert client.llen("normal") == 3
    assert app.broker_state.resting is False  # the one that followed was taken


def test_a_broker_that_goes_away_between_two_calls_is_noticed_by_the_next(
    app: Celeriac, private_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_connection, "_CLOSELY", FOR_EVER)
    task = app.tasks["late.noop"]
    taken = [task.delay() for _ in range(2)]
    with private_valkey.client() as client:  # it has answered both by then
        wait_until(lambda: client.llen("normal") == 2, within=5, saying="both have arrived")
    private_valkey.kill()
    lost, late = task.delay(), task.delay()
    assert [was_sent(app, each.id) for each in (*taken, lost, late)] == [True, True, False, False]
    assert app.broker_state.resting


@contextmanager
def no_row_is_written(app: Celeriac) -> Iterator[None]:
    """Have those who write a row wait until the block ends."""
    with app.database.transaction() as connection:
        connection.exec_driver_sql("LOCK TABLE background_jobs IN SHARE MODE")
        yield


def test_the_answer_before_is_read_while_the_row_is_written(
    private_valkey: ValkeyServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_connection, "_CLOSELY", FOR_EVER)
    options: dict[str, Any] = {"celeriac_enqueue_timeout": 60, "set_as_current": False}
    with closing(Celeriac("late", broker=private_valkey.url(), ledger=postgres_url, **options)) as app:
        task = app.task(name="late.noop", shared=False)(noop)._get_current_object()
        for _ in range(2):
            task.delay()
        unread = pushing(app)
        assert unread._unread is not None
        with private_valkey.client() as client:  # it has answered by then
            wait_until(lambda: client.llen("normal") == 2, within=30, saying="both have arrived")
        call = threading.Thread(target=task.delay)
        with no_row_is_written(app):
            call.start()
            wait_until(lambda: unread._unread is None, within=30, saying="the answer was read")
            assert call.is_alive()
        call.join(30)
        with private_valkey.client() as client:
            wait_until(lambda: client.llen("normal") == 3, within=30, saying="the call has sent its message")


def test_an_answer_that_is_not_there_yet_is_not_waited_for(
    app: Celeriac, private_valkey: ValkeyServer
) -> None:
    task = app.tasks["late.noop"]
    task.delay()
    push = pushing(app)
    with private_valkey.client() as client:
        client.client_pause(60_000)
    push._unread = print  # as behind a push whose answer is late
    push._client.connection.send_command("PING")
    push.look()
    assert (push._unread, push._error) == (print, None)
    private_valkey.kill()
    push.look()
    push.look()
    assert (push._unread, push._error is None) == (print, False)


def test_a_producer_is_kept_until_the_settings_change(app: Celeriac) -> None:
    task = app.tasks["late.noop"]
    task.delay()
    (first,) = app.amqp.kept_producers._kept
    task.delay()
    (again,) = app.amqp.kept_producers._kept
    assert again is first
    app.conf.broker_transport_options = {"socket_timeout": 7}
    task.delay()
    (other,) = app.amqp.kept_producers._kept
    assert other is not first


def test_no_producer_is_kept_where_a_pool_has_one(private_valkey: ValkeyServer, sqlite_url: str) -> None:
    options: dict[str, Any] = {"ledger": sqlite_url, "set_as_current": False, "broker_pool_limit": 1}
    with closing(Celeriac("one", broker=private_valkey.url(), **options)) as app:
        task = app.task(name="late.noop", shared=False)(noop)
        assert was_sent(app, task.delay().id)
        assert app.amqp.kept_producers._kept == []
        with app.producer_or_acquire() as producer:
            assert producer.channel


def test_another_app_may_lower_the_limit_of_kombus_pools_meanwhile(app: Celeriac) -> None:
    """kombu has one limit for all apps of a process, and refuses to lower it while a connection is in use."""
    app.tasks["late.noop"].delay()
    assert app.amqp.kept_producers._kept
    plain = Celery("plain", broker=app.conf.broker_url, broker_pool_limit=2, set_as_current=False)
    with closing(plain):
        plain.send_task("late.noop")
    app.tasks["late.noop"].delay()


def test_a_closed_app_keeps_no_connection(app: Celeriac, private_valkey: ValkeyServer) -> None:
    app.tasks["late.noop"].delay()
    (kept,) = app.amqp.kept_producers._kept
    app.close()
    assert app.amqp.kept_producers._kept == []
    assert not kept.connection.connected


def test_threads_beyond_those_with_a_producer_of_their_own_use_the_pool(app: Celeriac) -> None:
    kept = app.amqp.kept_producers
    taken = [kept.take() for _ in range(9)]
    assert len({id(each) for each in taken}) == 9
    assert len(kept._own) == 8
    for each in taken:
        kept.keep(each)
    assert len(kept._kept) == 8


class TakenMeanwhile(list[Any]):
    """Has something when it is asked, and nothing when that is taken: another thread was quicker."""

    def __bool__(self) -> bool:
        return True


def test_a_producer_that_another_thread_takes_meanwhile_is_not_missed(app: Celeriac) -> None:
    app.tasks["late.noop"].delay()
    kept = app.amqp.kept_producers
    before, kept._kept = kept._kept, TakenMeanwhile()
    taken = kept.take()
    assert taken not in before
    kept.drop(taken)
    kept._kept = before
