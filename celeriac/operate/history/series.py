"""How many attempts ended, and how long they ran, over an hour to ninety days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from celeriac.application import current_app
from celeriac.errors import BadArgument
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.reads import ended_counts as ledger
from celeriac.ledger.reads.ended_counts import Sum, Window
from celeriac.ledger.reads.ended_rows import Ended
from celeriac.ledger.schema.lanes import rows_of
from celeriac.ledger.schema.operator_tables import RUNS, SPREAD_BOUNDS, WAITS
from celeriac.names import NAME_LENGTH, check_text

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: The ranges of a chart: how far back it goes, and the seconds of one step.
RANGES: Mapping[str, tuple[timedelta, int]] = MappingProxyType(
    {
        "1h": (timedelta(hours=1), 60),
        "6h": (timedelta(hours=6), 300),
        "24h": (timedelta(hours=24), 900),
        "7d": (timedelta(days=7), 3_600),
        "30d": (timedelta(days=30), 21_600),
        "90d": (timedelta(days=90), 86_400),
    }
)

#: Ranges that reach further back than minutes are kept.
_LONG = frozenset({"7d", "30d", "90d"})

#: Names of tasks or queues to choose from, the largest.
_MOST_NAMES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What ended within each step of a range; the lists are as long as ``began``. The last step goes on."""

    range: str
    step: int  # seconds
    clock: datetime  # the database's
    began: list[datetime] = field(default_factory=list)  # the first moment of each step, aware, in UTC
    completed: list[int] = field(default_factory=list)  # jobs
    retried: list[int] = field(default_factory=list)  # attempts that failed, and whose job went on
    failed: list[int] = field(default_factory=list)  # jobs
    cancelled: list[int] = field(default_factory=list)  # jobs
    average: list[float | None] = field(default_factory=list)  # seconds that completed attempts ran
    longest: list[float | None] = field(default_factory=list)  # seconds of the longest of them


def series(
    span: str, *, task: str | None = None, queue: str | None = None, app: Celeriac | None = None
) -> Series:
    """What ended within that range, in steps.

    Args:
        queue: a lane, or one level of it.

    Raises:
        BadArgument: there is no such range, or no such task or queue can be.
    """
    wanted = _length(span)
    with current_app(app).database.reading() as connection:
        now = clock(connection)
        window = _window(span, now, task=task, queue=queue)
        found = ledger.sums(connection, window, clock=now)
    return _series(span, wanted[1], window.since, now, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadSeries:
    """How long jobs waited, or attempts ran, within each step of a range; the last step goes on.

    Attributes:
        of: ``wait``, how long jobs that ended had been due when their last attempt began; or ``run``, how
            long attempts ran.
        counts: of each step, how many took less than the first bound, less than the second, and so on; the
            last one has those that took the last bound or longer.
    """

    of: str
    range: str
    step: int  # seconds
    clock: datetime  # the database's
    bounds: list[float]  # seconds
    began: list[datetime]  # the first moment of each step, aware, in UTC
    counts: list[list[int]]


def spread(
    of: str, span: str, *, task: str | None = None, queue: str | None = None, app: Celeriac | None = None
) -> SpreadSeries:
    """How long jobs waited (``wait``) or attempts ran (``run``) within that range, in steps.

    Raises:
        BadArgument: as of ``series``; or ``of`` is neither.
    """
    check_spread(of)
    with current_app(app).database.reading() as connection:
        now = clock(connection)
        window = _window(span, now, task=task, queue=queue)
        found = ledger.spreads(connection, window, names=_SPREADS[of], clock=now)
    by_step = {each.began: list(each.counts) for each in found}
    began = steps(window.since, window.step, now)
    nothing = [0] * len(_SPREADS[of])
    return SpreadSeries(
        of=of,
        range=span,
        step=window.step,
        clock=now,
        bounds=list(SPREAD_BOUNDS),
        began=began,
        counts=[by_step.get(each, nothing) for each in began],
    )


def check_spread(of: str) -> None:
    """Refuse what is neither.

    Raises:
        BadArgument: it is no figure that has a spread.
    """
    if of not in _SPREADS:
        raise BadArgument("of", f"wanted one of {', '.join(_SPREADS)}, found {of[:80]!r}")


_SPREADS = {"wait": WAITS, "run": RUNS}


def names(span: str, *, app: Celeriac | None = None) -> dict[str, list[str]]:
    """Each ``task`` and ``queue`` of which most attempts ended in that range, in alphabetical order."""
    with current_app(app).database.reading() as connection:
        window = _window(span, clock(connection))
        return {
            by: sorted(ledger.largest(connection, window, by=by, most=_MOST_NAMES))
            for by in ("task", "queue")
        }


def check(span: str, *, task: str | None = None, queue: str | None = None) -> None:
    """Refuse what ``series`` would refuse, without a look at the ledger.

    Raises:
        BadArgument: as of ``series``.
    """
    _window(span, datetime.now(UTC), task=task, queue=queue)


def _length(span: str) -> tuple[timedelta, int]:
    if span not in RANGES:
        raise BadArgument("range", f"wanted one of {', '.join(RANGES)}, found {span[:80]!r}")
    return RANGES[span]


def first_step(now: datetime, span: str) -> datetime:
    """The first moment of the first step; steps follow on 1970 in UTC, so that they stay where they are."""
    length, step = RANGES[span]
    last = int(now.timestamp()) // step * step
    return datetime.fromtimestamp(last, UTC) - length + timedelta(seconds=step)


def _window(span: str, now: datetime, *, task: str | None = None, queue: str | None = None) -> Window:
    _, step = _length(span)
    task, queue = (_checked(name, value) for name, value in (("task", task), ("queue", queue)))
    queues = rows_of(queue) if queue else ()
    since = first_step(now, span)
    return Window(since=since, step=step, hours=span in _LONG, task=task, queues=queues)


def _checked(name: str, value: str | None) -> str | None:
    """A database must be able to compare with it."""
    return check_text(name, value, length=NAME_LENGTH) if value else None


def steps(since: datetime, step: int, now: datetime) -> list[datetime]:
    """The first moment of each step, up to now."""
    count = (now - since) // timedelta(seconds=step) + 1
    return [since + timedelta(seconds=step * number) for number in range(count)]


def _series(name: str, step: int, since: datetime, now: datetime, found: Sequence[Sum]) -> Series:
    by_step = {(each.began, each.outcome): each for each in found}
    made = Series(range=name, step=step, clock=now, began=steps(since, step, now))
    for began in made.began:
        for outcome in Ended:
            each = by_step.get((began, outcome))
            getattr(made, str(outcome)).append(0 if each is None else each.attempts)
        done = by_step.get((began, Ended.COMPLETED))
        made.average.append(None if done is None else done.ran / done.attempts)
        made.longest.append(None if done is None else done.longest)
    return made
