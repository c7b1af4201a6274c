"""The tables of django-celery-beat, through its own models. Django is set up by ``celery -A``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from celery.schedules import crontab

from celeriac.errors import BadArgument, InvalidSchedule
from celeriac.operate.schedule_import.beat_config import aware
from celeriac.operate.schedule_import.old_entry import CLEANUP, CLEANUP_REASON, OldEntry
from celeriac.schedules.static_schedules import when
from celeriac.schedules.times import Kind, Timing
from celeriac.schedules.validation import ScheduleRequest

if TYPE_CHECKING:
    from celeriac.application import Celeriac


class DjangoTables:
    """``PeriodicTask`` and what belongs to it."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    def read(self) -> Sequence[OldEntry]:
        self._app.loader.import_default_modules()  # with which Celery sets Django up
        models = _models()
        related = ("interval", "crontab", "solar", "clocked")
        found = models.PeriodicTask.objects.select_related(*related).order_by("name")
        return [self._entry(each) for each in found]

    def switch(self, entry: OldEntry) -> None:
        models = _models()
        own = models.PeriodicTask.objects.filter(name=entry.name)
        own.update(
            enabled=entry.enabled, last_run_at=_stored(entry.last_run), total_run_count=entry.run_count
        )
        models.PeriodicTasks.update_changed()  # a beat that runs reads them again

    def _entry(self, row: Any) -> OldEntry:
        known: dict[str, Any] = {
            "name": row.name,
            "task": row.task,
            "enabled": bool(row.enabled),
            "last_run": _moment(row.last_run_at),
            "run_count": int(row.total_run_count or 0),
        }
        if row.task == CLEANUP:
            return OldEntry(**known, problem=CLEANUP_REASON)
        try:
            return OldEntry(**known, wanted=self._wanted(row))
        except InvalidSchedule as exc:
            return OldEntry(**known, problem="; ".join(map(str, exc.problems)))
        except ValueError as exc:
            return OldEntry(**known, problem=str(exc))

    def _wanted(self, row: Any) -> ScheduleRequest:
        timing = self._timing(row)
        if row.one_off and "at" not in timing:
            timing = {"at": self._only_run(row, timing)}
        return ScheduleRequest(
            name=row.name,
            task=row.task,
            args=_json("args", row.args or "[]", list),
            kwargs=_json("kwargs", row.kwargs or "{}", dict),
            options=_options(row),
            start=_moment(row.start_time) if "at" not in timing else None,
            end=_moment(row.expires) if "at" not in timing else None,
            **timing,
        )

    def _timing(self, row: Any) -> dict[str, Any]:
        if row.solar is not None:
            raise ValueError(
                f"solar schedule ({row.solar.event}): wanted an interval, a crontab or one moment"
            )
        if row.clocked is not None:
            return {"at": _moment(row.clocked.clocked_time)}
        if row.interval is not None:
            return when(row.name, row.interval.schedule)
        if row.crontab is not None:
            fields = {name: getattr(row.crontab, name) for name in _CRONTAB}
            return {**when(row.name, crontab(**fields)), "timezone": str(row.crontab.timezone)}
        raise ValueError("it has no interval, crontab, clocked or solar schedule")

    def _only_run(self, row: Any, timing: dict[str, Any]) -> datetime:
        """The moment of an interval or a crontab that is to run once."""
        if row.total_run_count:
            raise ValueError("one-off: it has run already")
        since = _moment(row.last_run_at) or _moment(row.date_changed) or datetime.now(UTC)
        if "every" in timing:
            every: timedelta = timing["every"]
            return since + every
        place = timing.get("timezone") or str(self._app.conf.timezone or "UTC")
        found = Timing(kind=Kind.CRON, expression=timing["cron"], zone=place, anchor=since).after(since)
        if found is None:
            raise ValueError("one-off: it has no due time to come")
        return found


_CRONTAB = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")


def _models() -> Any:
    """The models.

    Raises:
        BadArgument: Django is not set up, or has no such app.
    """
    try:
        from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured
    except ImportError:
        raise BadArgument("from", "Django is not installed here") from None
    try:
        return import_module("django_celery_beat.models")
    except ImportError:
        raise BadArgument("from", "django-celery-beat is not installed here") from None
    except (AppRegistryNotReady, ImproperlyConfigured, RuntimeError) as exc:
        remedy = (
            "name DJANGO_SETTINGS_MODULE, and keep django_celery_beat in INSTALLED_APPS until all is copied"
        )
        raise BadArgument("from", f"Django is not set up for it: {exc}; {remedy}") from None


def _options(row: Any) -> dict[str, Any]:
    if row.exchange:
        raise ValueError(f"exchange: found {row.exchange!r}; a queue is addressed by its name alone")
    if row.routing_key and row.routing_key != row.queue:
        raise ValueError(f"routing_key: found {row.routing_key!r}; a queue is addressed by its name alone")
    given = {
        "queue": row.queue or None,
        "priority": row.priority,
        "expires": row.expire_seconds,
        "headers": _json("headers", row.headers or "{}", dict) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _json(name: str, text: str, kind: type) -> Any:
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise ValueError(f"{name}: no JSON: {exc}") from None
    if not isinstance(found, kind):
        raise ValueError(f"{name}: wanted a JSON {kind.__name__}, found {type(found).__name__}")
    return found


def _moment(value: Any) -> datetime | None:
    """A moment of Django's; without ``USE_TZ`` it is naive, in Django's own zone."""
    from django.utils.timezone import is_naive, make_aware

    if value is not None and is_naive(value):
        value = make_aware(value)
    return aware(value)


def _stored(moment: datetime | None) -> datetime | None:
    from django.conf import settings
    from django.utils.timezone import make_naive

    return moment if moment is None or settings.USE_TZ else make_naive(moment)
