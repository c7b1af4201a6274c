"""Dead letters for operators: see them in groups, replay them, discard them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import current_app
from kombu.serialization import dumps

from app import arguments
from app.errors import BadArgument, JobNotFound, UnknownTask
from app.ids import parse_id
from app.job import job as read_job
from app.ledger import dead_letters as ledger
from app.ledger import reads
from app.ledger.dead_letters import Group
from app.ledger.lifecycle import JobState
from app.ledger.replay import replay as replay_rows

if TYPE_CHECKING:
    from app.application import Celeriac

_BATCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Which dead letters are meant; what is None does not narrow."""

    task: str | None = None
    exception_type: str | None = None
    frame: str | None = None


def groups(*, limit: int = 50, app: Celeriac | None = None) -> list[Group]:
    """The largest groups of dead letters: same task, same exception, same failing frame."""
    with _app(app).database.reading() as connection:
        return ledger.groups(connection, limit=limit)


def replay_one(
    id: str,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    app: Celeriac | None = None,
) -> bool:
    """Set a dead letter back to pending with fresh tries; its history stays. False: it is none.

    Args:
        args, kwargs: other arguments for it, checked against the task's signature.

    Raises:
        JobNotFound, BadArgument, UnknownTask.
    """
    platform, wanted = _app(app), parse_id(id, name="id")
    edited = None
    if args is not None or kwargs is not None:
        edited = _edited(platform, wanted, args, kwargs)
    with platform.database.transaction() as connection:
        if edited is not None and not ledger.edit(connection, wanted, payload=edited[0], headers=edited[1]):
            return False
        return bool(replay_rows(connection, [wanted]))


def replay(
    cause: Cause,
    *,
    dry_run: bool = False,
    rate: float | None = None,
    progress: Callable[[int], None] | None = None,
    app: Celeriac | None = None,
) -> int:
    """Replay every dead letter of ``cause`` in batches; return how many.

    Args:
        dry_run: only count.
        rate: jobs a second, at most.
        progress: told how many are done after each batch.
    """
    return _each(_app(app), cause, None if dry_run else _replay_batch, rate, progress)


def discard(
    cause: Cause,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
    app: Celeriac | None = None,
) -> int:
    """Delete every dead letter of ``cause`` with its history; return how many."""
    return _each(_app(app), cause, None if dry_run else ledger.discard, None, progress)


def _replay_batch(connection: Any, ids: Sequence[UUID]) -> int:
    return len(replay_rows(connection, ids))


def _each(app: Celeriac, cause: Cause, act: Any, rate: float | None, progress: Any) -> int:
    done = 0
    for ids in _batches(app, cause):
        if act is None:
            done += len(ids)
            continue
        with app.database.transaction() as connection:
            count = act(connection, ids)
        done += count
        if progress:
            progress(done)
        if rate:
            time.sleep(count / rate)
    return done


def _batches(app: Celeriac, cause: Cause) -> Iterator[list[UUID]]:
    beyond: UUID | None = None
    while True:
        with app.database.reading() as connection:
            ids = ledger.members(
                connection,
                task=cause.task,
                exception_type=cause.exception_type,
                frame=cause.frame,
                limit=_BATCH,
                beyond=beyond,
            )
        if not ids:
            return
        yield ids
        beyond = ids[-1]


def _edited(
    app: Celeriac, wanted: UUID, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> tuple[bytes, dict[str, Any]]:
    """The payload and headers of a dead letter with other arguments."""
    found = read_job(str(wanted), app=app)
    if found.state is not JobState.FAILED:
        raise BadArgument("id", f"job {found.id} is {found.state}, only dead letters are edited")
    task = app.tasks.get(found.task)
    if task is None:
        raise UnknownTask(found.task)
    new_args = tuple(found.args or ()) if args is None else tuple(args)
    new_kwargs = dict(found.kwargs or {}) if kwargs is None else dict(kwargs)
    arguments.check(new_args, new_kwargs)
    try:
        task.__header__(*new_args, **new_kwargs)
    except TypeError as exc:
        raise BadArgument("arguments", str(exc)) from None
    with app.database.reading() as connection:
        row = reads.find(connection, wanted)
    if row is None:
        raise JobNotFound(str(wanted))
    _, _, text = dumps((new_args, new_kwargs, _options(row)), serializer="json")
    shown = {"argsrepr": arguments.represent(new_args), "kwargsrepr": arguments.represent(new_kwargs)}
    headers = {key: value for key, value in row.headers.items() if key != "compression"}
    return text.encode("utf-8"), headers | shown


def _options(row: Any) -> Any:
    """The callbacks, chain and chord that the message carries beside its arguments."""
    from app.job import decoded

    body = decoded(row)
    return body[2] if body is not None else {}


def _app(app: Celeriac | None) -> Celeriac:
    found: Celeriac = current_app._get_current_object() if app is None else app
    return found
