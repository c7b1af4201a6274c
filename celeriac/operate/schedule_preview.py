"""When a schedule would run, before it is registered."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from celeriac.application import current_app
from celeriac.ledger.connection.clock import clock
from celeriac.schedules.validation import ScheduleRequest, timing_of

if TYPE_CHECKING:
    from celeriac.application import Celeriac


def preview(fields: dict[str, Any], *, n: int, app: Celeriac | None = None) -> list[datetime]:
    """The first ``n`` due times that a schedule with this timing would have, in UTC.

    Args:
        fields: of ``register``: every, cron or at; timezone, start, end, run_immediately.

    Raises:
        InvalidSchedule: with everything that is wrong with the timing.
    """
    platform = current_app(app)
    with platform.database.reading() as connection:
        now = clock(connection)
    return list(
        islice(
            timing_of(platform, ScheduleRequest(name="preview", task="", **fields), now=now).upcoming(now), n
        )
    )
