"""Register, change, enable, disable, read and run schedules."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection

from celeriac.application import current_app
from celeriac.broker import sending
from celeriac.enqueue.unique.key_rules import write_at_once
from celeriac.errors import BadArgument, ScheduleNotFound, StaticSchedule
from celeriac.ids import new_id
from celeriac.ledger.operators import schedule_skips
from celeriac.ledger.writes import schedule_rows as ledger
from celeriac.schedules.definition import Schedule, of_row
from celeriac.schedules.fire_job import prepare_fire
from celeriac.schedules.validation import ScheduleRequest, of_its_jobs, validated

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: What else is written in the transaction of a change; it is given the connection.
Also = Callable[[Connection], object]

#: The most due times that ``next_runs`` returns.
MOST_RUNS = 1000

_STATIC = "it is static: change it in the file that it comes from, or disable it"


def register(  # long: its signature and docstring document every field of a schedule
    name: str,
    task: Any,
    *,
    every: float | timedelta | None = None,
    cron: str | None = None,
    at: datetime | str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    priority: Any = None,
    queue: str | None = None,
    user_id: str | None = None,
    max_tries: int | None = None,
    timeout: float | None = None,
    expires: float | timedelta | None = None,
    timezone: str | None = None,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    catch_up: str = "once",
    catch_up_limit: int = 100,
    overlap: str = "allow",
    jitter: float | timedelta = 0.0,
    run_immediately: bool = False,
    enabled: bool | None = None,
    also: Also | None = None,
    app: Celeriac | None = None,
) -> Schedule:
    """Make a schedule, or change the one of that name, which keeps its history.

    Due times go on as they were unless what makes them has changed. A schedule that was disabled stays so.

    Args:
        task: the task or its name.
        every: an interval of at least one second; its due times are counted from the first one.
        cron: five fields, or ``@daily`` and the like; see docs/schedules.md.
        at: one moment.
        priority, queue, user_id, max_tries, timeout, expires: of its jobs, as for ``apply_async``;
            ``expires`` in seconds from the fire.
        timezone: of cron, and of moments that name none; the app's own unless it is given.
        start, end: no due time before or after.
        catch_up: what becomes of due times that nobody was there to fire: ``skip``, ``once``, ``all``.
        catch_up_limit: how many ``all`` fires at most, the newest.
        overlap: ``skip`` passes over due times while the last job is not terminal.
        jitter: seconds, at most, that a job waits after its due time.
        run_immediately: an interval's first due time is now.
        enabled: None leaves it as it is; a new one is enabled.
        also: called in the same transaction, with its connection.

    Raises:
        InvalidSchedule: with everything that is wrong.
        StaticSchedule: the one of that name comes from a file.

    >>> register("nightly", "mail.welcome", args=(7,), cron="30 2 * * mon-fri", timezone="Europe/Berlin").name
    'nightly'
    >>> register("nightly", "mail.welcom", cron="0 0 30 2 *")
    Traceback (most recent call last):
    celeriac.errors.InvalidSchedule: schedule 'nightly': ...
    """
    options = {
        "priority": priority,
        "queue": queue,
        "user_id": user_id,
        "max_tries": max_tries,
        "timeout": timeout,
        "expires": expires,
    }
    wanted = ScheduleRequest(
        name=name,
        task=getattr(task, "name", task),
        every=every,
        cron=cron,
        at=at,
        args=args,
        kwargs={} if kwargs is None else kwargs,
        options=of_its_jobs(options),
        timezone=timezone,
        start=start,
        end=end,
        catch_up=catch_up,
        catch_up_limit=catch_up_limit,
        overlap=overlap,
        jitter=jitter,
        run_immediately=run_immediately,
        enabled=enabled,
    )
    platform = current_app(app)
    with platform.database.transaction() as connection:
        made = put(platform, connection, wanted)
        _write_also(connection, also)
        return made


def put(app: Celeriac, connection: Connection, wanted: ScheduleRequest) -> Schedule:
    """Validate and write a schedule, in the transaction of ``connection``.

    Raises:
        InvalidSchedule: with everything that is wrong.
    """
    now = ledger.clock(connection)
    row = None
    if isinstance(wanted.name, str) and _may_be_stored(wanted.name):
        row = ledger.find(connection, wanted.name, lock=True)
    if row is not None and row.static and row.retired is None and not wanted.static:
        raise StaticSchedule(wanted.name, [_STATIC])
    ledger.put(connection, wanted.name, validated(app, wanted, row=row, now=now))
    return _found(connection, wanted.name)


def unregister(name: str, *, also: Also | None = None, app: Celeriac | None = None) -> None:
    """Remove a schedule; the jobs that it made stay.

    Args:
        also: called in the same transaction, with its connection.

    Raises:
        ScheduleNotFound: there is none of that name.
        StaticSchedule: the file that it comes from would restore it.

    >>> schedule = register("ping", "mail.welcome", args=(7,), every=60)
    >>> unregister("ping")
    >>> list_all()
    []
    """
    with current_app(app).database.transaction() as connection:
        if _found(connection, name).static:
            raise StaticSchedule(name, [_STATIC])
        ledger.remove(connection, name)
        schedule_skips.forget(connection, name)
        _write_also(connection, also)


def enable(name: str, *, also: Also | None = None, app: Celeriac | None = None) -> Schedule:
    """Let a schedule fire again, from its next due time on. What it missed while disabled stays undone.

    Args:
        also: called in the same transaction, with its connection.

    Raises:
        ScheduleNotFound: there is none of that name.

    >>> schedule = register("ping", "mail.welcome", args=(7,), every=60, enabled=False)
    >>> enable("ping").enabled
    True
    """
    with current_app(app).database.transaction() as connection:
        found = _found(connection, name, lock=True)
        if not found.enabled:
            now = ledger.clock(connection)
            since = now if found.last_run is None else max(now, found.last_run)
            ledger.switch(connection, name, enabled=True, next_run=found.timing.after(since))
        _write_also(connection, also)
        return _found(connection, name)


def disable(name: str, *, also: Also | None = None, app: Celeriac | None = None) -> Schedule:
    """Let a schedule fire no more until it is enabled; it survives every restart, also of a static one.

    Args:
        also: called in the same transaction, with its connection.

    Raises:
        ScheduleNotFound: there is none of that name.

    >>> schedule = register("ping", "mail.welcome", args=(7,), every=60)
    >>> disable("ping").next_run is None
    True
    """
    with current_app(app).database.transaction() as connection:
        _found(connection, name, lock=True)
        ledger.switch(connection, name, enabled=False, next_run=None)
        _write_also(connection, also)
        return _found(connection, name)


def get(name: str, *, app: Celeriac | None = None) -> Schedule:
    """The schedule of that name.

    Raises:
        ScheduleNotFound: there is none.

    >>> get("ping")
    Traceback (most recent call last):
    celeriac.errors.ScheduleNotFound: no schedule is named 'ping'
    """
    with current_app(app).database.reading() as connection:
        return _found(connection, name)


def list_all(*, app: Celeriac | None = None) -> list[Schedule]:
    """Every schedule, by name; without those that were taken out of the project's file.

    >>> list_all()
    []
    """
    with current_app(app).database.reading() as connection:
        return [of_row(row) for row in ledger.page(connection)]


def run_now(
    name: str, *, also: Callable[[Connection, UUID], object] | None = None, app: Celeriac | None = None
) -> str:
    """Make a job of a schedule at once, whatever its policies are; its due times stay as they are.

    Args:
        also: called in the same transaction, with its connection and the id of the job.

    Returns:
        the id of the job.

    Raises:
        ScheduleNotFound: there is none of that name.
        BadArgument, PayloadTooLarge: its job would be refused.

    >>> schedule = register("ping", "mail.welcome", args=(7,), every=60)
    >>> job(run_now("ping")).schedule
    'ping'
    """
    platform = current_app(app)
    with platform.database.transaction() as connection:
        found = _found(connection, name, lock=True)
        job = prepare_fire(
            platform,
            task=found.task,
            args=found.args,
            kwargs=found.kwargs,
            options=found.options,
            id=UUID(new_id()),
            schedule=name,
        )
        if platform.broker_state.resting:
            job = job.unsent()
        sent = write_at_once(connection, [job])
        ledger.count_run(connection, name, job.id)
        if also is not None:
            also(connection, job.id)
    if sent:
        sending.send(platform, sent)
    return str(job.id)


def next_runs(name: str, n: int = 5, *, app: Celeriac | None = None) -> list[datetime]:
    """The next ``n`` due times, in UTC; fewer when no more are to come, none while it is disabled.

    Raises:
        BadArgument: ``n`` is not from 1 to 1,000.
        ScheduleNotFound: there is none of that name.

    >>> schedule = register("jubilee", "mail.welcome", args=(7,), at="2035-01-01T09:00", timezone="UTC")
    >>> next_runs("jubilee")
    [datetime.datetime(2035, 1, 1, 9, 0, tzinfo=datetime.timezone.utc)]
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_RUNS:
        raise BadArgument("n", f"wanted 1 to {MOST_RUNS:,}, found {n!r}")
    found = get(name, app=app)
    if found.next_run is None:
        return []
    return [found.next_run, *islice(found.timing.upcoming(found.next_run), n - 1)]


def _write_also(connection: Connection, also: Also | None) -> None:
    if also is not None:
        also(connection)


def _may_be_stored(name: str) -> bool:
    """Whether a database can compare with it: a command line may contain bytes that are no text."""
    return "\x00" not in name and name == name.encode("utf-8", "replace").decode()


def _found(connection: Connection, name: str, *, lock: bool = False) -> Schedule:
    row = ledger.find(connection, name, lock=lock) if _may_be_stored(name) else None
    if row is None:
        known = [row.name for row in ledger.page(connection)] if _may_be_stored(name) else []
        nearest = difflib.get_close_matches(name, known, n=1)
        raise ScheduleNotFound(name[:80], nearest[0][:80] if nearest else None)
    return of_row(row)
