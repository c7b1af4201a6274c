"""The due times that a schedule passed over lately, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from celeriac.application import current_app
from celeriac.ledger.operators import schedule_skips as ledger

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Rows of skips that are told of one schedule, the newest: one for every second minute of a day and more.
MOST_SKIPS = 1_000


@dataclass(frozen=True, slots=True)
class Skipped:
    """Due times that made no job, one after the other, for one reason.

    Attributes:
        first, last: the oldest and the newest of them; the same moment when it was one.
    """

    first: datetime
    last: datetime
    reason: str


def skipped(schedule: str, *, app: Celeriac | None = None) -> list[Skipped]:
    """What ``schedule`` passed over, the newest first: as long as its jobs are kept."""
    with current_app(app).database.reading() as connection:
        found = ledger.newest(connection, schedule, limit=MOST_SKIPS)
    return [Skipped(row.first, row.last, row.reason) for row in found]
