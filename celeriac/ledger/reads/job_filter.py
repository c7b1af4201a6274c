"""A filter of jobs, and the conditions that it puts on a row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, or_, select

from celeriac.ids import optional_id
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.schema.lanes import rows_of
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS, WORKERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs to select; a field that is None does not filter."""

    state: JobState | None = None
    task: str | None = None
    queue: str | None = None  # a lane, or one level of it
    user_id: str | None = None
    schedule: str | None = None
    error: str | None = None  # what the last failure says, in part and in any case
    argument: str | None = None  # what its arguments say as a list shows them, in part and in any case
    worker: str | None = None  # who runs it or had it last: its node name, its machine, or the id of a start
    version: str | None = None  # of the code, or of Celeriac, that this worker runs
    since: datetime | timedelta | None = None  # queued at or after; a span: so long before now
    until: datetime | timedelta | None = None  # queued before
    finished_since: datetime | timedelta | None = None  # ended at or after
    finished_until: datetime | timedelta | None = None  # ended before
    ids: tuple[UUID, UUID] | None = None  # the first and the last
    worker_ids: tuple[UUID, ...] | None = None  # what ``worker`` and ``version`` mean; see ``settled``

    def conditions(self) -> list[Any]:
        """Conditions on a row; ``settled`` must have replaced spans and names of workers before."""
        if self.worker_ids is None:
            return self._others()
        runs, had = self._by_worker()
        return [*self._others(), or_(*runs, JOBS.c.worker_id.is_(None) & had[-1])]

    def parts(self) -> list[list[Any]]:
        """The same in parts of which a row fits one at most, each found through an index of its own."""
        if self.worker_ids is None:
            return [self._others()]
        return [[*self._others(), *each] for each in self._by_worker()]

    def failures_within(self) -> list[Any]:
        """Conditions: it has failed, and was accepted within the span. An index has these in their order."""
        return [JOBS.c.failure_info.is_not(None), *self._accepted()]

    def without_workers(self) -> Filter:
        """The same, of any worker."""
        return replace(self, worker=None, version=None, worker_ids=None)

    def _by_worker(self) -> tuple[list[Any], list[Any]]:
        """Of jobs that one of them runs; of those that one of them had last."""
        ids = self.worker_ids or ()
        return [JOBS.c.worker_id.in_(ids)], [JOBS.c.worker_id.is_(None), JOBS.c.last_worker_id.in_(ids)]

    def _others(self) -> list[Any]:
        equal = {
            JOBS.c.state: self.state,
            JOBS.c.job_type: self.task,
            JOBS.c.user_id: self.user_id,
            JOBS.c.schedule: self.schedule,
        }
        found: list[Any] = [column == value for column, value in equal.items() if value is not None]
        if self.queue is not None:
            lists = rows_of(self.queue)
            found.append(JOBS.c.queue == lists[0] if len(lists) == 1 else JOBS.c.queue.in_(lists))
        if self.error is not None:
            found += [
                JOBS.c.failure_info.is_not(None),
                JOBS.c.failure_info.icontains(self.error, autoescape=True),
            ]
        if self.argument is not None:
            found.append(or_(*_say(self.argument)))
        found += self._accepted()
        if self.finished_since is not None:
            found.append(JOBS.c.finished >= self.finished_since)
        if self.finished_until is not None:  # what is queued later ends later
            found += [JOBS.c.finished < self.finished_until, JOBS.c.queued < self.finished_until]
        if self.ids is not None:
            found.append(JOBS.c.id.between(*self.ids))
        return found

    def _accepted(self) -> list[Any]:
        since = [] if self.since is None else [JOBS.c.queued >= self.since]
        return since if self.until is None else [*since, JOBS.c.queued < self.until]


def _say(text: str) -> list[Any]:
    """Conditions of which one holds where the arguments, as they are shown, contain the text.

    PostgreSQL would expect that hardly a row is LIKE a text, and read all of them to sort these few. It
    expects that nearly every text differs from another: so it goes from the newest until a page is full.
    """
    shown = (func.lower(JOBS.c.headers[name].as_string()) for name in ("argsrepr", "kwargsrepr"))
    return [func.replace(each, text.lower(), "") != each for each in shown]


def settled(connection: Connection, wanted: Filter) -> Filter:
    """``wanted`` with times in place of spans, by the database's clock, and ids in place of workers' names.

    PostgreSQL would expect a third of all rows for a time that is computed inside the statement.
    """
    if wanted.worker_ids is None and (wanted.worker is not None or wanted.version is not None):
        wanted = replace(wanted, worker_ids=_workers(connection, wanted))
    given = wanted.since, wanted.until, wanted.finished_since, wanted.finished_until
    if not any(isinstance(moment, timedelta) for moment in given):
        return wanted
    now = clock(connection)
    since, until, finished_since, finished_until = (_moment(now, moment) for moment in given)
    return replace(
        wanted, since=since, until=until, finished_since=finished_since, finished_until=finished_until
    )


def _workers(connection: Connection, wanted: Filter) -> tuple[UUID, ...]:
    """The starts of workers that are meant, the newest first."""
    c, chosen = WORKERS.c, select(WORKERS.c.id).order_by(WORKERS.c.started.desc(), WORKERS.c.id)
    if (name := wanted.worker) is not None:
        named = [c.hostname == name, c.hostname.endswith(f"@{name}", autoescape=True)]
        one = optional_id(name)
        chosen = chosen.where(or_(*named, *([] if one is None else [c.id == one])))
    if (version := wanted.version) is not None:
        chosen = chosen.where(or_(c.code_version == version, c.version == version))
    return tuple(connection.execute(chosen).scalars())


def _moment(now: datetime, given: datetime | timedelta | None) -> datetime | None:
    if not isinstance(given, timedelta):
        return given
    try:
        return now - given
    except OverflowError:
        return datetime(1, 1, 2, tzinfo=UTC)
