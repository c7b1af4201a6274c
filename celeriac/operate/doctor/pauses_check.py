"""Queues and tasks that are paused: one that was forgotten looks like an outage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from celeriac.display import length
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.upkeep import pause_rows
from celeriac.ledger.upkeep.pause_rows import PauseRow
from celeriac.operate import pauses
from celeriac.operate.doctor.finding import Area, Finding, ok, warn

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_LONG = timedelta(minutes=15)  # after which somebody may have forgotten it


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    paused: Sequence[PauseRow]
    clock: datetime


def read(app: Celeriac) -> Facts:
    with app.database.reading() as connection:
        return Facts(paused=pause_rows.rows(connection), clock=clock(connection))


def judge(facts: Facts) -> list[Finding]:
    found = [_of(row, facts.clock - row.since) for row in facts.paused]
    return found or [ok(Area.LEDGER, "pauses", "no queue and no task is paused")]


def _of(row: PauseRow, age: timedelta) -> Finding:
    sentence = f"the {row.kind} {row.name!r} is {pauses.in_words(row)} ({length(max(age, timedelta()))})"
    if age > _LONG:
        return warn(Area.LEDGER, "pauses", sentence, remedy=pauses.remedy(row))
    return ok(Area.LEDGER, "pauses", sentence)
