"""Validate a schedule that somebody asks for. All problems are reported at once."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from celeriac import names
from celeriac.errors import ELSEWHERE, CeleriacError, InvalidSchedule
from celeriac.ids import fire_id
from celeriac.ledger.schema.columns import LATEST
from celeriac.names import NAME_LENGTH
from celeriac.schedules import cron
from celeriac.schedules.definition import CatchUp, Overlap, encoded
from celeriac.schedules.fire_job import prepare_fire
from celeriac.schedules.times import Kind, Timing, instant, named_zone, zone

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Options of a job that a schedule may set.
OPTIONS = frozenset(
    [
        "priority",
        "queue",
        "user_id",
        "max_tries",
        "timeout",
        "expires",
        "countdown",
        "time_limit",
        "soft_time_limit",
        "serializer",
        "compression",
        "headers",
        "ignore_result",
        "routing_key",
        "retry",
        "retry_policy",
        "shadow",
        "argsrepr",
        "kwargsrepr",
    ]
)

#: Those that may also be given beside a schedule's own fields.
OF_ITS_JOBS = ("priority", "queue", "user_id", "max_tries", "timeout", "expires")

_SHORTEST, _LONGEST = 1.0, 10 * 366 * 86_400.0  # seconds
_MOST_CAUGHT_UP = 10_000
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRequest:
    """A schedule as somebody asks for it. ``celeriac.schedules.register`` explains the fields."""

    name: str
    task: str
    every: Any = None
    cron: Any = None
    at: Any = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    timezone: str | None = None
    start: datetime | str | None = None
    end: datetime | str | None = None
    catch_up: str = CatchUp.ONCE
    catch_up_limit: int = 100
    overlap: str = Overlap.ALLOW
    jitter: Any = 0.0
    run_immediately: bool = False
    enabled: bool | None = None
    static: bool = False


def of_its_jobs(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a schedule's jobs that were given beside its own fields. None counts as not given."""
    options = {name: given[name] for name in OF_ITS_JOBS if given.get(name) is not None}
    if isinstance(options.get("expires"), timedelta):
        options["expires"] = options["expires"].total_seconds()
    return options


def validated(app: Celeriac, wanted: ScheduleRequest, *, row: Any, now: datetime) -> dict[str, Any]:
    """The columns of the row for a valid request.

    Args:
        row: the present row of that name; None when there is none. Due times that have not changed go on.

    Raises:
        InvalidSchedule: with everything that is wrong.
    """
    problems = list(_wrong_types(wanted))
    if problems:
        raise InvalidSchedule(_shown(wanted.name), problems)
    place = wanted.timezone if wanted.timezone is not None else str(app.conf.timezone or "UTC")
    for check in (_name, _task, _policies):
        problems += check(app, wanted)
    try:
        timing = _timing(wanted, place, now)
    except _Problems as exc:
        raise InvalidSchedule(_shown(wanted.name), problems + list(exc.args)) from None
    known = _known(row, timing)
    if known is not None:
        timing = known
    enabled = wanted.enabled if wanted.enabled is not None else row is None or row.enabled
    next_run = _next_run(wanted, timing, row, known is not None, now) if enabled else None
    problems += _never_due(timing, next_run if enabled else timing.after(now), known is not None, now)
    if problems:
        raise InvalidSchedule(_shown(wanted.name), problems)
    return _columns(wanted, timing, enabled=enabled, next_run=next_run)


def timing_of(app: Celeriac, wanted: ScheduleRequest, *, now: datetime) -> Timing:
    """The timing of a request, whatever else of it is wrong.

    Raises:
        InvalidSchedule: the timing is.
    """
    place = wanted.timezone if wanted.timezone is not None else str(app.conf.timezone or "UTC")
    try:
        return _timing(wanted, place, now)
    except _Problems as exc:
        raise InvalidSchedule(_shown(wanted.name), list(exc.args)) from None


def _columns(
    wanted: ScheduleRequest, timing: Timing, *, enabled: bool, next_run: datetime | None
) -> dict[str, Any]:
    return {
        "task": wanted.task,
        "args": encoded(list(wanted.args)),
        "kwargs": encoded(dict(wanted.kwargs)),
        "options": encoded(dict(wanted.options)),
        "kind": timing.kind,
        "expression": timing.expression,
        "timezone": timing.zone,
        "starts": timing.starts,
        "ends": timing.ends,
        "catch_up": CatchUp(wanted.catch_up),
        "catch_up_limit": wanted.catch_up_limit,
        "overlap": Overlap(wanted.overlap),
        "jitter": _seconds(wanted.jitter),
        "static": wanted.static,
        "enabled": enabled,
        "anchor": timing.anchor,
        "next_run": next_run,
    }


class _Problems(Exception):
    """Sentences about fields that cannot be read."""


def _shown(name: object) -> str:
    return str(name)[:80].encode("utf-8", "replace").decode()


def _wrong_types(wanted: ScheduleRequest) -> Iterator[str]:
    """Problems of type, which the other checks rely on."""
    for name, value, kinds, expected in (
        ("task", wanted.task, (str,), "the name of a task"),
        ("args", wanted.args, (list, tuple), "a list"),
        ("kwargs", wanted.kwargs, (Mapping,), "a dict"),
        ("options", wanted.options, (Mapping,), "a dict"),
        ("timezone", wanted.timezone, (str, type(None)), "text"),
        ("run_immediately", wanted.run_immediately, (bool,), "True or False"),
        ("enabled", wanted.enabled, (bool, type(None)), "True or False"),
    ):
        if not isinstance(value, kinds):
            yield f"{name}: wanted {expected}, found {type(value).__name__}"


def _name(_: Celeriac, wanted: ScheduleRequest) -> Iterator[str]:
    try:
        names.check_text("name", wanted.name, length=NAME_LENGTH)
        if not wanted.name.isprintable():
            yield f"name: wanted printable characters, found {wanted.name[:80]!r}"
    except CeleriacError as exc:
        yield str(exc)


def _task(app: Celeriac, wanted: ScheduleRequest) -> Iterator[str]:
    """Problems with the task, or with the arguments and options that it is given."""
    unknown = sorted(set(wanted.options) - OPTIONS)
    if unknown:
        yield f"options: wanted some of {', '.join(sorted(OPTIONS))}, found {', '.join(unknown)[:80]}"
    if wanted.task not in app.tasks:
        app.loader.import_default_modules()
    if app.is_foreign(wanted.task):  # its signature is not known here
        return
    if wanted.task not in app.tasks:
        nearest = difflib.get_close_matches(str(wanted.task), list(app.tasks), n=1)
        yield f"task: no task is named {str(wanted.task)[:80]!r}; " + (
            f"did you mean {nearest[0]!r}?" if nearest else ELSEWHERE
        )
        return
    task = app.tasks[wanted.task]
    try:
        if task.typing:
            inspect.signature(task.run).bind(*wanted.args, **wanted.kwargs)
    except TypeError as exc:
        yield f"arguments: {wanted.task} does not take them: {exc}"
        return
    if unknown:
        return
    try:  # a job that the door refuses now would be refused at every fire
        id = fire_id(_shown(wanted.name), LATEST)
        options = wanted.options
        prepare_fire(app, task=wanted.task, args=wanted.args, kwargs=wanted.kwargs, options=options, id=id)
    except (CeleriacError, TypeError, ValueError) as exc:
        yield str(exc)[:200]


def _policies(_: Celeriac, wanted: ScheduleRequest) -> Iterator[str]:
    for name, value, kind in (
        ("catch_up", wanted.catch_up, CatchUp),
        ("overlap", wanted.overlap, Overlap),
    ):
        if value not in [str(each) for each in kind]:
            yield f"{name}: wanted one of {', '.join(kind)}, found {value!r}"
    limit = wanted.catch_up_limit
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST_CAUGHT_UP:
        yield f"catch_up_limit: wanted an integer from 1 to {_MOST_CAUGHT_UP:,}, found {limit!r}"
    jitter = _seconds(wanted.jitter)
    if not 0 <= jitter <= _LONGEST:
        yield f"jitter: wanted seconds from 0 on, found {wanted.jitter!r}"


def _timing(wanted: ScheduleRequest, place: str, now: datetime) -> Timing:
    """The timing that it would have as a new schedule."""
    problems: list[str] = []
    try:
        named_zone(place)
    except ValueError as exc:
        problems.append(f"timezone: {exc}")
        place = "UTC"
    starts, ends = (_moment(name, problems, getattr(wanted, name), place) for name in ("start", "end"))
    if ends is not None and (ends <= now or (starts is not None and ends < starts)):
        problems.append(f"end: wanted a moment to come, and after the start, found {ends.isoformat()}")
    kind, expression = _expression(wanted, place, problems)
    if problems:
        raise _Problems(*problems)
    anchor = starts or now
    if kind is Kind.INTERVAL and starts is None and not wanted.run_immediately:
        anchor += timedelta(seconds=float(expression))
    if wanted.run_immediately and kind is not Kind.INTERVAL:
        raise _Problems("run_immediately: only an interval can begin at once")
    return Timing(kind=kind, expression=expression, zone=place, anchor=anchor, starts=starts, ends=ends)


def _expression(wanted: ScheduleRequest, place: str, problems: list[str]) -> tuple[Kind, str]:
    given = [name for name in ("every", "cron", "at") if getattr(wanted, name) is not None]
    if len(given) != 1:
        problems.append(f"wanted one of every, cron and at, found {' and '.join(given) or 'none of them'}")
        return Kind.ONCE, ""
    if given == ["every"]:
        seconds = _seconds(wanted.every)
        if not _SHORTEST <= seconds <= _LONGEST:
            problems.append(f"every: wanted {_SHORTEST:g} second to ten years, found {wanted.every!r}")
            return Kind.INTERVAL, "1"
        return Kind.INTERVAL, f"{seconds:.6f}".rstrip("0").rstrip(".")
    if given == ["at"]:
        moment = _moment("at", problems, wanted.at, place)
        return Kind.ONCE, moment.astimezone(zone(place)).isoformat() if moment else ""
    try:
        if not isinstance(wanted.cron, str) or len(wanted.cron) > NAME_LENGTH:
            raise ValueError(f"wanted a text of five fields, found {str(wanted.cron)[:80]!r}")
        cron.parse(wanted.cron)
    except ValueError as exc:
        problems.append(f"cron: {exc}")
    return Kind.CRON, str(wanted.cron).strip()


def _known(row: Any, timing: Timing) -> Timing | None:
    """The timing of the present row, with the new end; None when the due times change."""
    if row is None:
        return None
    same = (row.kind, row.expression, row.timezone, row.starts)
    if same != (timing.kind, timing.expression, timing.zone, timing.starts):
        return None
    return Timing(
        kind=timing.kind,
        expression=timing.expression,
        zone=timing.zone,
        anchor=row.anchor,
        starts=timing.starts,
        ends=timing.ends,
    )


def _next_run(
    wanted: ScheduleRequest, timing: Timing, row: Any, known: bool, now: datetime
) -> datetime | None:
    if known and row.next_run is not None:  # it may be past and not fired yet
        return row.next_run if timing.ends is None or row.next_run <= timing.ends else None
    last_run = None if row is None else row.last_run
    if wanted.run_immediately and not known and timing.anchor < now:
        due = next(iter(timing.latest(timing.anchor, now, limit=1)), None)
    else:
        due = timing.after(now - _TICK)
    return due if due is None or last_run is None or due > last_run else timing.after(max(last_run, now))


def _never_due(timing: Timing, next_run: datetime | None, known: bool, now: datetime) -> Iterator[str]:
    if next_run is not None or known:
        return
    if timing.kind is Kind.ONCE and datetime.fromisoformat(timing.expression) <= now:
        yield f"at: wanted a moment to come, found {timing.expression}"
    else:
        yield "it has no due time between its start and its end"


def _moment(name: str, problems: list[str], value: Any, place: str) -> datetime | None:
    """``value`` in UTC; a naive time is read on the schedule's own clock."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if value is None:
            return None
        if not isinstance(value, datetime):
            raise ValueError
        moment = instant(value, zone(place)) if value.tzinfo is None else value.astimezone(UTC)
        if not datetime(1970, 1, 1, tzinfo=UTC) <= moment < LATEST:
            raise ValueError
    except (ValueError, OverflowError):
        problems.append(
            f"{name}: wanted a datetime from 1970 to {LATEST.year - 1}, found {str(value)[:80]!r}"
        )
        return None
    return moment


def _seconds(value: Any) -> float:
    """``value`` in seconds; nan when it is no duration."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return math.nan
    return float(value)
