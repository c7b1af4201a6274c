"""The workers that use a Redis database, whatever their ledger: each records its id there.

So the doctor and every worker notice two installations that share queues. Each has workers that the other's
ledger does not know. Installations with different prefixes share nothing: each has a record of its own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from celeriac.ids import optional_id

#: A sorted set of "id hostname", after the prefix; the score is the time on the Redis server's clock.
KEY = "celeriac:workers"

#: A live worker has recorded itself within this span.
FRESH = timedelta(seconds=60)

_KEPT = timedelta(hours=1)


def record(client: Any, worker: UUID, hostname: str, *, prefix: str = "") -> None:
    """Record that ``worker`` uses the queues with this prefix now.

    Args:
        client: one that is given whole keys.
    """
    key = prefix + KEY
    now, _ = client.time()
    with client.pipeline(transaction=False) as pipeline:
        pipeline.zadd(key, {f"{worker} {hostname}": now})
        pipeline.zremrangebyscore(key, 0, now - _KEPT.total_seconds())
        pipeline.expire(key, _KEPT)
        pipeline.execute()


def recent(client: Any, *, within: timedelta, prefix: str = "") -> dict[UUID, str]:
    """The workers that recorded themselves within that span: their ids and hostnames."""
    now, _ = client.time()
    lately = client.zrangebyscore(prefix + KEY, now - within.total_seconds(), "+inf")
    pairs = [bytes(member).decode(errors="replace").partition(" ") for member in lately]
    return {worker: host for id, _, host in pairs if (worker := optional_id(id))}
