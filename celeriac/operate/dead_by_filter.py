"""Replay or discard the dead letters that a filter of jobs matches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from celeriac.application import current_app
from celeriac.ledger.reads import job_rows
from celeriac.ledger.reads.job_rows import Filter
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.dead_letters import discard as discard_rows
from celeriac.operate import listing
from celeriac.operate.dead_letters import in_batches, replay_batch
from celeriac.operate.job import as_of_now

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_MOST = 10_000_000  # jobs that are counted


def count(wanted: Filter, *, app: Celeriac | None = None) -> int:
    """How many dead letters match; none where the filter asks for another state."""
    if wanted.state not in (None, JobState.FAILED):
        return 0
    return listing.count(replace(wanted, state=JobState.FAILED), most=_MOST, app=app)


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
    return _each(wanted, replay_batch, rate=rate, progress=progress, app=app)


def discard(
    wanted: Filter, *, progress: Callable[[int], None] | None = None, app: Celeriac | None = None
) -> int:
    """Delete every dead letter that matches, with its history; return how many."""
    return _each(wanted, discard_rows, rate=None, progress=progress, app=app)


def _each(wanted: Filter, act: Any, *, rate: float | None, progress: Any, app: Celeriac | None) -> int:
    platform = current_app(app)
    wanted = as_of_now(wanted, app=platform)  # one that fails again meanwhile is met once
    return in_batches(platform, partial(job_rows.dead, wanted=wanted), act, rate=rate, progress=progress)
