"""Which workers draw from a Redis database: each leaves its id there, whatever ledger it works for.

So two installations that were given the same database are seen: each has workers that the other's ledger
does not know.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from celeriac.ids import optional_id

#: A sorted set: "id hostname" by the moment on Redis' clock.
KEY = "celeriac:workers"

#: So lately has one that lives been here.
FRESH = timedelta(seconds=60)

_KEPT = timedelta(hours=1)


def record(client: Any, worker: UUID, hostname: str) -> None:
    """Say that ``worker`` draws from this database now."""
    now, _ = client.time()
    with client.pipeline(transaction=False) as pipeline:
        pipeline.zadd(KEY, {f"{worker} {hostname}": now})
        pipeline.zremrangebyscore(KEY, 0, now - _KEPT.total_seconds())
        pipeline.expire(KEY, _KEPT)
        pipeline.execute()


def recent(client: Any, *, within: timedelta) -> dict[UUID, str]:
    """The workers that said so within that span: their ids and hostnames."""
    now, _ = client.time()
    lately = client.zrangebyscore(KEY, now - within.total_seconds(), "+inf")
    pairs = [bytes(member).decode(errors="replace").partition(" ") for member in lately]
    return {worker: host for id, _, host in pairs if (worker := optional_id(id))}
