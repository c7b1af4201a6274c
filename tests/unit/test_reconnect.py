"""Reconnect: how fast a worker asks for its broker again, and what counts as a broker that is away."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.exceptions import OperationalError
from redis import exceptions
from redis.exceptions import ResponseError

from celeriac.broker.transport import Connection, Transport, _is_no_bulk
from celeriac.worker.pool.reconnect import Pace


def lost_after(*seconds: float) -> Pace:
    """The pace after connections that lasted so long."""
    pace, now = Pace(), 1_000.0
    for one in seconds:
        pace.connected(now)
        pace.lost(now + one)
        now += one
    return pace


def test_a_connection_that_lasted_is_replaced_at_once() -> None:
    assert Pace().pause() == 0
    assert lost_after(60).pause() == 0
    assert lost_after(1, 1, 60).pause() == 0


def test_one_that_breaks_soon_is_replaced_later_and_later_up_to_a_second() -> None:
    assert [lost_after(*[0.1] * times).pause() for times in (1, 2, 3, 4, 9)] == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_the_wait_for_a_broker_that_is_away_is_not_counted_as_a_connection() -> None:
    pace = lost_after(0.1)
    pace.lost(2_000.0)
    assert pace.pause() == 0.2


REFUSALS: list[Exception] = [
    exceptions.ReadOnlyError("You can't write against a read only replica."),
    exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
    ResponseError("MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to"),
    ResponseError("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
    ResponseError("NOREPLICAS Not enough good replicas to write."),
    ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: str(error)[:9])
def test_a_refusal_is_a_lost_connection_and_no_word_about_blmpop(error: Exception) -> None:
    assert isinstance(error, Transport.connection_errors)
    assert not _is_no_bulk(error)


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("unknown command 'BLMPOP', with args beginning with: '1' '4' "),
        exceptions.NoPermissionError("User worker has no permissions to run the 'blmpop' command"),
        ResponseError("unsupported command"),
    ],
)
def test_a_server_that_knows_no_blmpop_is_asked_for_one_at_a_time(error: ResponseError) -> None:
    assert _is_no_bulk(error)


def test_between_two_tries_time_passes_where_the_worker_wants_it_to() -> None:
    told: list[float] = []
    passed: list[float] = []
    connection: Any = Connection("redis://127.0.0.1:1/0", transport="celeriac.broker.transport:Transport")
    connection.wait = passed.append
    with pytest.raises(OperationalError):
        connection.ensure_connection(lambda exc, interval: told.append(interval), 7)
    assert told == passed == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0])
