"""Replay or discard the dead letters that a filter of jobs matches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.application import current_app
from celeriac.ledger.reads import job_rows
from celeriac.ledger.reads.job_rows import Filter
from celeriac.ledger.writes.dead_letters import discard as discard_rows
from celeriac.ledger.writes.replay import replay as replay_rows
from celeriac.operate.job import as_of_now

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_BATCH = 200


def replay(
    wanted: Filter,
    *,
    rate: float | None = None,
    progress: Callable[[int], None] | None = None,
    app: Celeriac | None = None,
) -> int:
    """Set every dead letter that matches back to pending, with fresh tries; return how many.

    Args:
        rate: jobs a second, at most.
        progress: called after each batch with the number of jobs so far.
    """
    return _each(wanted, _replay_batch, rate=rate, progress=progress, app=app)


def discard(
    wanted: Filter, *, progress: Callable[[int], None] | None = None, app: Celeriac | None = None
) -> int:
    """Delete every dead letter that matches, with its history; return how many."""
    return _each(wanted, discard_rows, rate=None, progress=progress, app=app)


def _replay_batch(connection: Any, ids: Sequence[UUID]) -> int:
    return len(replay_rows(connection, ids, dead_only=True))


def _each(wanted: Filter, act: Any, *, rate: float | None, progress: Any, app: Celeriac | None) -> int:
    platform, done, beyond = current_app(app), 0, None
    wanted = as_of_now(wanted, app=platform)  # one that fails again meanwhile is met once
    size = min(_BATCH, max(1, int(rate or _BATCH)))
    while True:
        with platform.database.reading() as connection:
            ids = job_rows.dead(connection, wanted, limit=size, beyond=beyond)
        if not ids:
            return done
        beyond = ids[-1]
        count = platform.database.again(partial(act, ids=ids))
        done += count
        if progress:
            progress(done)
        if rate:
            time.sleep(count / rate)
