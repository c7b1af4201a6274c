"""Schedules that are overdue, damaged or refused, or whose task is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from celeriac.display import length, safe
from celeriac.ledger.writes import schedule_rows as ledger
from celeriac.operate.doctor.finding import Area, Finding, fail, ok, warn
from celeriac.schedules.firing import DAMAGED, REFUSED

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_SHOWN = 5  # by name


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFacts:
    """What the check needs of a schedule."""

    name: str
    task: str
    known: bool  # whether this process knows its task
    next_run: datetime | None
    trouble: str | None = None  # why its last due time was not fired, if nothing was fired since


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    clock: datetime
    grace: timedelta  # that a due time may be late
    schedules: Sequence[ScheduleFacts]


def read(app: Celeriac) -> Facts:
    app.loader.import_default_modules()
    with app.database.reading() as connection:
        moment = ledger.clock(connection)
        rows = ledger.page(connection)
    schedules = [
        ScheduleFacts(
            name=row.name,
            task=row.task,
            known=row.task in app.tasks or app.is_foreign(row.task),
            next_run=row.next_run,
            trouble=_trouble(row.skip_reason, row.last_skipped, row.last_run),
        )
        for row in rows
        if row.enabled
    ]
    return Facts(clock=moment, grace=timedelta(seconds=app.settings.misfire_grace), schedules=schedules)


def _trouble(reason: str | None, skipped: datetime | None, fired: datetime | None) -> str | None:
    """The reason of the last skipped due time; None when a later one was fired."""
    return None if skipped is None or (fired is not None and fired > skipped) else reason


def judge(facts: Facts) -> list[Finding]:
    troubled = [*_overdue(facts), *_not_fired(facts), *_unknown(facts)]
    return troubled or [ok(Area.SCHEDULES, "all", f"{len(facts.schedules)} enabled, all in order")]


def _overdue(facts: Facts) -> Iterator[Finding]:
    late = [each for each in facts.schedules if each.next_run and facts.clock - each.next_run > facts.grace]
    if late:
        oldest = min(each.next_run for each in late if each.next_run)
        sentence = f"overdue, for up to {length(facts.clock - oldest)}: {_names(late)}"
        yield fail(Area.SCHEDULES, "overdue", sentence, remedy="celery -A app beat; see its log")


def _not_fired(facts: Facts) -> Iterator[Finding]:
    for each in facts.schedules:
        sentence = f"{safe(each.name, length=60)}: {safe(each.trouble, length=200)}"
        remedy = "register it again, or disable it: celery -A app schedules"
        if each.trouble is not None and each.trouble.startswith(DAMAGED):
            yield fail(Area.SCHEDULES, "damaged", sentence, remedy=remedy)
        elif each.trouble is not None and each.trouble.startswith(REFUSED):
            yield fail(Area.SCHEDULES, "refused", sentence, remedy=remedy)


def _unknown(facts: Facts) -> Iterator[Finding]:
    unknown = [each for each in facts.schedules if not each.known]
    if unknown:
        sentence = f"of tasks that this process does not know: {_names(unknown)}"
        yield warn(Area.SCHEDULES, "tasks", sentence, remedy="see CELERIAC_TASK_MODULES")


def _names(schedules: Sequence[ScheduleFacts]) -> str:
    shown = ", ".join(safe(each.name, length=60) for each in schedules[:_SHOWN])
    return shown if len(schedules) <= _SHOWN else f"{shown} and {len(schedules) - _SHOWN} more"
