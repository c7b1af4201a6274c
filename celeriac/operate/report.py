"""A day of the ledger in numbers: ``summarise(day)``. It formats nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from celeriac.application import current_app
from celeriac.errors import BadArgument
from celeriac.ledger.reads import job_rows
from celeriac.ledger.reads.job_rows import FailureLine, Line

if TYPE_CHECKING:
    from celeriac.application import Celeriac

__all__ = ["FailureLine", "Line", "Summary", "summarise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The jobs that were queued on one day, as the ledger had them at ``made``.

    >>> summary = summarise(datetime.now(UTC).date())
    >>> summary.whole.jobs, summary.lines, summary.failures
    (0, (), ())
    """

    day: date  # in UTC
    made: datetime  # when the ledger was asked
    whole: Line  # of all jobs of the day
    lines: tuple[Line, ...]  # by task and state
    failures: tuple[FailureLine, ...]  # the most frequent first; at most 200


def summarise(day: date, *, app: Celeriac | None = None) -> Summary:
    """The jobs that were queued on ``day``, a day of UTC, in numbers.

    The database counts: neither memory nor the answer grows with the number of jobs.

    Raises:
        BadArgument: ``day`` is not a date, or the last one there is.

    >>> result = welcome.delay(7)
    >>> summarise(datetime.now(UTC).date()).whole.jobs
    1
    """
    if type(day) is not date or day == date.max:
        raise BadArgument("day", f"wanted a date, found {day!r}")
    since = datetime.combine(day, time(), tzinfo=UTC)
    made = datetime.now(UTC)
    found = current_app(app)
    with found.database.reading() as connection:
        counts = job_rows.day_summary(connection, since, since + timedelta(days=1))
    return Summary(day=day, made=made, whole=counts.whole, lines=counts.lines, failures=counts.failures)
