"""How long rows are kept, and the deletion of those that are older."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from celeriac.application import current_app
from celeriac.ledger.days.ahead import make_missing
from celeriac.ledger.days.prune import drop_old_days
from celeriac.ledger.days.retire import Ages
from celeriac.ledger.limits import lines
from celeriac.ledger.operators import schedule_skips
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.upkeep import prune as ledger
from celeriac.ledger.writes.unique import periods

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Lines of jobs with limits, and keys of permits, that nobody has used for so long are forgotten.
_IDLE = timedelta(days=1)

_BATCH = 1000

#: The pause after a batch, in durations of the batch: so a prune uses a quarter of one core of the database.
_REST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long terminal rows are kept.

    Attributes:
        done: completed and cancelled jobs; also the due times that schedules passed over.
        dead: dead letters.
        results: copies of return values; None: as long as their row.
        tasks: completed and cancelled jobs of single tasks.
        actions: records of what operators did.

    >>> Retention(done=timedelta(days=7), dead=timedelta(days=30)).results is None
    True
    """

    done: timedelta
    dead: timedelta
    results: timedelta | None = None
    tasks: Mapping[str, timedelta] = field(default_factory=dict)
    actions: timedelta = timedelta(days=90)

    @property
    def longest(self) -> timedelta:
        """The longest of all retentions.

        >>> Retention(done=timedelta(days=7), dead=timedelta(days=30)).longest
        datetime.timedelta(days=30)
        """
        return max(self.done, self.dead, *self.tasks.values())

    @property
    def ages(self) -> Ages:
        """Those of jobs.

        >>> Retention(done=timedelta(days=7), dead=timedelta(days=30)).ages.dead
        datetime.timedelta(days=30)
        """
        return Ages(done=self.done, dead=self.dead, tasks=self.tasks)

    @classmethod
    def of(cls, app: Celeriac) -> Retention:
        """The retention of an app, from its settings and its tasks' ``keep_days``.

        >>> Retention.of(current_app()).done
        datetime.timedelta(days=7)
        """
        settings = app.settings
        own = {
            name: timedelta(days=float(task.keep_days))
            for name, task in app.tasks.items()
            if getattr(task, "keep_days", None) is not None
        }
        results = settings.keep_results_days
        return cls(
            done=timedelta(days=settings.keep_days),
            dead=timedelta(days=settings.keep_dead_days),
            results=None if results is None else timedelta(days=results),
            tasks=own,
        )


def prune(*, app: Celeriac | None = None, retention: Retention | None = None) -> dict[str, int]:
    """Delete what is older than its retention; return how many rows went, by what they were.

    It deletes in batches of 1,000, one transaction each, with a pause after each: jobs have priority. Of a
    ledger that is divided by days it drops whole days first.

    Args:
        retention: what the settings and the tasks say, unless it is given.

    >>> prune()
    {<JobState.COMPLETED: 'completed'>: 0, ..., 'workers': 0}
    """
    platform = current_app(app)
    keep = retention or Retention.of(platform)
    own = sorted(keep.tasks)
    gone = drop_old_days(platform.database, keep.ages)
    for state in (JobState.COMPLETED, JobState.CANCELLED):
        gone[state] += _all(platform, ledger.prune, state, age=keep.done.total_seconds(), but=own)
        for task in own:
            age = keep.tasks[task].total_seconds()
            gone[state] += _all(platform, ledger.prune, state, age=age, task=task)
    gone[JobState.FAILED] += _all(platform, ledger.prune, JobState.FAILED, age=keep.dead.total_seconds())
    if keep.results is not None:
        gone["results"] = _all(platform, ledger.forget_results, age=keep.results.total_seconds())
    gone["actions"] = _all(platform, ledger.prune_actions, age=keep.actions.total_seconds())
    gone["skips"] = _all(platform, schedule_skips.prune, age=keep.done.total_seconds())
    gone["unique_keys"] = _all(platform, periods.forget)
    gone["lines"] = _all(platform, lines.forget, age=_IDLE.total_seconds())
    age = keep.longest.total_seconds()
    gone["workers"] = platform.database.again(partial(ledger.prune_workers, age=age))
    make_missing(platform.database)
    return dict(gone)


def _all(app: Celeriac, batch: Callable[..., int], *args: Any, **options: Any) -> int:
    total = 0
    while True:
        began = time.monotonic()
        count = app.database.again(partial(_one, batch=batch, args=args, options=options))
        total += count
        if count < _BATCH:
            return total
        time.sleep(_REST * (time.monotonic() - began))


def _one(connection: Connection, batch: Callable[..., int], args: Any, options: Any) -> int:
    return batch(connection, *args, **options, limit=_BATCH)
