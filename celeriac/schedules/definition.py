"""A schedule as a value, read from its row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from kombu.utils.json import dumps, loads

from celeriac.display import exact_length
from celeriac.schedules import cron
from celeriac.schedules.times import Kind, Timing


class CatchUp(StrEnum):
    """What happens to due times that passed while no beat ran.

    >>> register("ping", "mail.welcome", args=(7,), every=60, catch_up="all").catch_up
    <CatchUp.ALL: 'all'>
    """

    SKIP = "skip"  # none of them is fired
    ONCE = "once"  # the newest of them
    ALL = "all"  # each, up to a limit, the newest


class Overlap(StrEnum):
    """What happens to a due time while the schedule's last job is unfinished.

    >>> register("ping", "mail.welcome", args=(7,), every=60, overlap="skip").overlap
    <Overlap.SKIP: 'skip'>
    """

    ALLOW = "allow"  # it makes a job all the same
    SKIP = "skip"  # it is passed over


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as it was when it was read. Moments are aware, in UTC.

    Attributes:
        starts, ends: bounds of its due times; None: unbounded.
        jitter: seconds, at most, that a job waits after its due time.
        static: from the project's own file or Celery's configuration.
        retired: when a static one was removed from there; it has no due times.
        last_run: the last due time that was fired.
        next_run: the next due time; None: none to come.
        run_count: jobs that it made, those of ``run_now`` included.
        last_skipped: the last due time that was not fired.
        skip_reason: why it was not.

    >>> schedule = register("nightly", "mail.welcome", args=(7,), cron="30 2 * * *", timezone="Europe/Berlin")
    >>> schedule.kind, schedule.expression, schedule.enabled, schedule.run_count
    (<Kind.CRON: 'cron'>, '30 2 * * *', True, 0)
    """

    name: str  # its own, of which there is one
    task: str  # the name of what it enqueues
    args: Sequence[Any]  # of its jobs
    kwargs: Mapping[str, Any]  # of its jobs
    options: Mapping[str, Any]  # of its jobs, as ``register`` was given them
    kind: Kind  # of the expression
    expression: str  # seconds of an interval, a cron expression, or a moment in ISO 8601
    timezone: str  # in which cron is read
    anchor: datetime  # the first due time of an interval
    starts: datetime | None
    ends: datetime | None
    catch_up: CatchUp  # what becomes of due times that were missed
    catch_up_limit: int  # how many ``all`` fires at most
    overlap: Overlap  # what becomes of a due time while the last job is not over
    jitter: float
    static: bool
    enabled: bool  # False: it fires no more until it is enabled
    retired: datetime | None
    created: datetime  # when it was registered first
    changed: datetime  # when it was registered with something else, or switched
    last_run: datetime | None
    next_run: datetime | None
    run_count: int
    last_job_id: str | None  # of the newest job that it made
    last_skipped: datetime | None
    skip_reason: str | None

    @property
    def timing(self) -> Timing:
        """What its due times are made of."""
        return Timing(
            kind=self.kind,
            expression=self.expression,
            zone=self.timezone,
            anchor=self.anchor,
            starts=self.starts,
            ends=self.ends,
        )

    @property
    def description(self) -> str:
        """When it is due, in words.

        >>> register("ping", "mail.welcome", args=(7,), every=90).description
        'Every 1 min 30 s'
        """
        if self.kind is Kind.INTERVAL:
            return f"Every {exact_length(timedelta(seconds=float(self.expression)))}"
        if self.kind is Kind.ONCE:
            return f"Once at {self.expression}"
        return f"{cron.words(self.expression)} ({self.timezone})"


def of_row(row: Any) -> Schedule:
    """The schedule of a row of the table.

    Raises:
        ValueError: the row was damaged, for example by hand.
    """
    known = {name: getattr(row, name) for name in Schedule.__dataclass_fields__}
    changed = {
        "args": decoded(row.args),
        "kwargs": decoded(row.kwargs),
        "kind": Kind(row.kind),
        "catch_up": CatchUp(row.catch_up),
        "overlap": Overlap(row.overlap),
        "last_job_id": None if row.last_job_id is None else str(row.last_job_id),
    }
    return Schedule(**(known | changed))


def encoded(value: Any) -> Any:
    """``value`` as plain JSON that keeps datetimes, decimals, UUIDs and bytes; ``decoded`` reads it."""
    return json.loads(dumps(value))


def decoded(value: Any) -> Any:
    """The value that ``encoded`` was given."""
    return loads(json.dumps(value))
