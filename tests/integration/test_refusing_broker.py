"""A broker that answers and refuses: what a worker's connection makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Consumer, Exchange, Queue

from celeriac.settings.platform import Settings
from tests.apps import build
from tests.servers import ValkeyServer


@pytest.fixture
def connection(private_valkey: ValkeyServer, sqlite_url: str) -> Iterator[Any]:
    known: dict[str, Any] = {"broker_url": private_valkey.url(), "database_url": sqlite_url}
    app = build(Settings(**known), set_as_current=False)
    with app.connection_for_read() as connection:
        yield connection
    app.close()


MAILBOX = Queue("mailbox", Exchange("mailbox", type="fanout"))


def test_a_full_broker_is_drawn_from(private_valkey: ValkeyServer, connection: Any) -> None:
    """Also by who connects when it is full: nobody else would ever make room."""
    drawn: list[str] = []
    with private_valkey.client() as client:
        client.lpush("normal", "no message, but something")
    private_valkey.configure(maxmemory=1)
    channel = connection.channel()
    MAILBOX(channel).declare()
    take = lambda message: drawn.append(message.damage)  # noqa: E731
    with Consumer(channel, [Queue("normal", routing_key="normal")], on_message=take, no_ack=True):
        connection.drain_events(timeout=10)
    assert len(drawn) == 1


def test_a_replica_counts_as_a_broker_that_is_away(private_valkey: ValkeyServer, connection: Any) -> None:
    channel = connection.channel()
    with private_valkey.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(connection.connection_errors, match="read only"):
        MAILBOX(channel).declare()
