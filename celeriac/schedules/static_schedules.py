"""Static schedules: the entries of Celery's ``beat_schedule``, written to the table."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celery.beat import ScheduleEntry
from celery.schedules import crontab, schedule

from celeriac.errors import InvalidSchedule
from celeriac.events import Event
from celeriac.ledger.writes import schedule_rows as ledger
from celeriac.maintenance import with_ours
from celeriac.schedules.registry import put
from celeriac.schedules.validation import OF_ITS_JOBS, ScheduleRequest, of_its_jobs

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

#: Keys of an entry beside Celery's own task, schedule, args, kwargs and options.
_OURS = frozenset(
    [
        "every",
        "cron",
        "at",
        "timezone",
        "start",
        "end",
        "catch_up",
        "catch_up_limit",
        "overlap",
        "jitter",
        "run_immediately",
        "enabled",
    ]
)
_CELERYS = frozenset({"task", "schedule", "args", "kwargs", "options", "relative"})


def sync(app: Celeriac) -> None:
    """Update the table from the static schedules, in one transaction.

    A disabled schedule stays disabled. One that is no longer static is retired. An invalid entry is logged,
    and its row, if there is one, stays as it was.
    """
    entries = with_ours(_entries(app))
    with app.database.transaction() as connection:
        for name in sorted(entries, key=str):
            try:
                put(app, connection, request_of_entry(str(name), entries[name]))
            except InvalidSchedule as exc:
                logger.error(Event.STATIC_REFUSED, {"error": exc})
        for gone in ledger.retire(connection, [str(name) for name in entries]):
            logger.info(Event.SCHEDULE_RETIRED, {"schedule": gone})


def _entries(app: Celeriac) -> dict[Any, Any]:
    """Those of the app's configuration, and those of the project's own module with other names."""
    configured, module = app.conf.beat_schedule or {}, app.settings.schedule_module
    written = _module_entries(module)
    for name in sorted(configured.keys() & written.keys(), key=str):
        if configured[name] is not written[name]:
            clash = [f"it stands in the configuration's beat_schedule and in {module}: keep one of them"]
            logger.error(Event.STATIC_REFUSED, {"error": InvalidSchedule(str(name)[:80], clash)})
    return {**written, **configured}


def _module_entries(module: str | None) -> dict[str, Any]:
    """The schedules that the project's own module holds as data; none where it has no such module."""
    if not module or importlib.util.find_spec(module) is None:
        return {}
    return dict(importlib.import_module(module).SCHEDULE)


def request_of_entry(name: str, entry: Any) -> ScheduleRequest:
    """The request that an entry of ``beat_schedule`` makes.

    Raises:
        InvalidSchedule: the entry cannot be read.
    """
    if isinstance(entry, ScheduleEntry):
        entry = {key: getattr(entry, key) for key in ("task", "schedule", "args", "kwargs", "options")}
    if not isinstance(entry, Mapping) or "task" not in entry:
        raise InvalidSchedule(name[:80], ["wanted a dict with a task and a schedule"])
    known = {*_OURS, *_CELERYS, *OF_ITS_JOBS}
    surplus = sorted(str(key) for key in set(entry) - known)
    if surplus:
        raise InvalidSchedule(
            name[:80], [f"wanted some of {', '.join(sorted(known))}, found {', '.join(surplus)[:60]}"]
        )
    given = {key: entry[key] for key in _OURS if key in entry}
    if "schedule" in entry:
        given |= when(name, entry["schedule"])
    options = entry.get("options") or {}
    if isinstance(options, Mapping):
        options = {key: value for key, value in options.items() if value is not None} | of_its_jobs(entry)
    return ScheduleRequest(
        name=name,
        task=entry["task"],
        args=entry.get("args") or (),
        kwargs=entry.get("kwargs") or {},
        options=options,
        static=True,
        **given,
    )


def when(name: str, value: Any) -> dict[str, Any]:
    """The fields of a request for Celery's own schedule object.

    Raises:
        InvalidSchedule: it is of another kind: solar, or somebody's own.
    """
    if isinstance(value, str):
        return {"cron": value}
    if isinstance(value, int | float | timedelta):
        return {"every": value}
    if type(value) is crontab:
        return {"cron": _expression(value)}
    if type(value) is schedule:
        return {"every": value.run_every}
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise InvalidSchedule(
        name[:80], [f"schedule: wanted seconds, a timedelta, a crontab or five fields, found {kind}"]
    )


def _expression(value: crontab) -> str:
    """Celery's crontab as five fields, with ``and``: it needs both day fields to match, cron only one."""
    fields = [
        _field(value.minute, 0, 59),
        _field(value.hour, 0, 23),
        _field(value.day_of_month, 1, 31),
        _field(value.month_of_year, 1, 12),
        _field(value.day_of_week, 0, 6),
    ]
    both_days = "*" not in (fields[2], fields[4])
    return " ".join([*fields, "and"] if both_days else fields)


def _field(values: set[int], low: int, high: int) -> str:
    every = set(range(low, high + 1))
    return "*" if every <= values else ",".join(str(value) for value in sorted(values))
