"""Purge a queue: cancel its jobs in the ledger, then drop its messages.

Dropping the messages alone would not help: the ledger would send each one again.
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
    """Cancel all that waits in ``queues``; return the number of jobs and of foreign messages.

    Args:
        channel: of the broker that holds the messages.
    """
    client = channel.whole_keys
    return sum(_cancel_jobs(app, queue) + _drop_messages(client, channel.key(queue)) for queue in queues)


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


def _drop_messages(client: Any, key: str) -> int:
    """Drop the messages that are there now; return how many of them have no row."""
    foreign = 0
    for _ in range(client.llen(key) // _BATCH + 1):
        foreign += sum(map(_is_foreign, client.rpop(key, _BATCH) or ()))
    return foreign


def _is_foreign(item: bytes) -> bool:
    """Whether a message has no row, because its producer does not use this platform."""
    try:
        return STAMP not in loads(bytes_to_str(item))["headers"]
    except Exception:  # not a message: anybody can push anything into a list
        return True
