"""The job of one fire, prepared; it is written by whoever asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.enqueue.prepare import prepare
from celeriac.ledger.writes.new_jobs import NewJob

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_MOST = 2**128


def prepare_fire(
    app: Celeriac,
    *,
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    id: UUID,
    schedule: str | None = None,
    jitter: float = 0.0,
) -> NewJob:
    """The job ``id`` of a schedule.

    A task that this process does not know is no obstacle: a worker of a newer version may.

    Args:
        jitter: seconds that it waits at most; how many follows from its id.
    """
    wait = float(options.get("countdown") or 0) + jitter * (id.int / _MOST)
    own = {"task_id": str(id), "countdown": wait or None, "schedule": schedule}
    return prepare(app, task, list(args), dict(kwargs), {**options, **own})
