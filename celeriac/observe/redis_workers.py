"""The workers that use a Redis database, whatever their ledger: each records its id there.

So the doctor notices two installations on one Redis database. Each has workers that the other's ledger
does not know.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from celeriac.ids import optional_id

#: A sorted set of "id hostname"; the score is the time on the Redis server's clock.
KEY = "celeriac:workers"

#: A live worker has recorded itself within this span.
FRESH = timedelta(seconds=60)

_KEPT = timedelta(hours=1)


def record(client: Any, worker: UUID, hostname: str) -> None:
    """Record that ``worker`` uses this database now."""
    now, _ = client.time()
    with client.pipeline(transaction=False) as pipeline:
        pipeline.zadd(KEY, {f"{worker} {hostname}": now})
        pipeline.zremrangebyscore(KEY, 0, now - _KEPT.total_seconds())
        pipeline.expire(KEY, _KEPT)
        pipeline.execute()


def recent(client: Any, *, within: timedelta) -> dict[UUID, str]:
    """The workers that recorded themselves within that span: their ids and hostnames."""
    now, _ = client.time()
    lately = client.zrangebyscore(KEY, now - within.total_seconds(), "+inf")
    pairs = [bytes(member).decode(errors="replace").partition(" ") for member in lately]
    return {worker: host for id, _, host in pairs if (worker := optional_id(id))}
