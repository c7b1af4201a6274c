"""An attempt of a job that follows another one: it takes that one's result, and the function does not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from celery import states

from celeriac.errors import JobNotFound
from celeriac.headers import FOLLOWS
from celeriac.ids import parse_row_id
from celeriac.ledger.reads import job_rows
from celeriac.ledger.schema.lifecycle import TERMINAL
from celeriac.limits.resting import Snooze
from celeriac.task.results.ledger_answers import meta_of

#: Seconds until a follower looks again for a job that was replayed meanwhile.
_AGAIN = 2.0


def instead(
    task: Any, request: Any, run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]:
    """What the attempt calls, with its arguments: ``run``, or what takes the result of the followed job."""
    followed = request.get(FOLLOWS)
    if not followed:
        return run, args, kwargs
    return partial(_result, task, request, str(followed)), (), {}


def _result(task: Any, request: Any, followed: str) -> Any:
    """The result of the job ``followed``.

    Raises:
        Snooze: it has not ended.
        Exception: its own, if it failed; it ends the follower as well.
    """
    job = parse_row_id(followed)
    with task.app.database.reading() as connection:
        ending = job_rows.endings(connection, [job]).get(job)
    if ending is not None and ending.state not in TERMINAL:
        raise Snooze(_AGAIN, f"it follows job {followed}, which was replayed")
    request.celeriac_final = True  # another attempt would find the same
    if ending is None:
        raise JobNotFound(followed)
    meta = _as_stored(task.backend, meta_of(task.app, ending, followed))
    if meta["status"] != states.SUCCESS:
        raise meta["result"]
    return meta["result"]


def _as_stored(backend: Any, meta: dict[str, Any]) -> dict[str, Any]:
    """The result store's word, if it says the same: it has an exception itself, a row only its text."""
    ask = getattr(backend, "preferably_stored", None)
    (found,) = ask([meta]) if ask is not None else (meta,)
    return dict(found) if found["status"] == meta["status"] else meta
