"""Purge a queue: its jobs are cancelled in the ledger, then its messages are dropped.

The messages alone would be in vain: the ledger sends each one again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from celeriac.headers import STAMP
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.writes import purge as ledger

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_BATCH = 500


def purge(app: Celeriac, channel: Any, queues: Iterable[str]) -> int:
    """Let nothing that waits in ``queues`` run; return how many jobs and foreign messages that were.

    Args:
        channel: of the broker, whose messages are dropped.
    """
    return sum(_cancel_jobs(app, queue) + _drop_messages(channel.client, queue) for queue in queues)


def _cancel_jobs(app: Celeriac, queue: str) -> int:
    with app.database.reading() as connection:
        began = clock(connection)
    total = 0
    while True:
        with app.database.transaction() as connection:
            count = ledger.purge(connection, queue, before=began, limit=_BATCH)
        total += count
        if not count:
            return total


def _drop_messages(client: Any, queue: str) -> int:
    """Take every message that is there; return how many have no row behind them."""
    foreign = 0
    for _ in range(client.llen(queue) // _BATCH + 1):
        foreign += sum(map(_is_foreign, client.rpop(queue, _BATCH) or ()))
    return foreign


def _is_foreign(item: bytes) -> bool:
    """Whether no row was written for a message: its producer is no part of this platform."""
    try:
        return STAMP not in loads(bytes_to_str(item))["headers"]
    except Exception:  # no message at all: anybody can push anything into a queue
        return True
