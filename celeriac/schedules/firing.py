"""Fire the schedules that are due: write their jobs and their next due times in one transaction.

Any number of beats may do this at once. One of them locks a row, the row advances only from the due time
that was read, and a job's id is derived from schedule and due time. So no due time makes two jobs, and a
transaction that is cut short leaves nothing behind.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection

from celeriac.broker import sending
from celeriac.enqueue.unique.key_rules import write_at_once
from celeriac.errors import CeleriacError
from celeriac.events import Event
from celeriac.ids import fire_id
from celeriac.ledger.operators import schedule_skips
from celeriac.ledger.operators.schedule_skips import Skip
from celeriac.ledger.writes import schedule_rows as ledger
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.schedule_rows import Advance
from celeriac.schedules.definition import Schedule, of_row
from celeriac.schedules.fire_job import prepare_fire
from celeriac.schedules.policy import Decision, decide

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

#: Schedules of one transaction.
BATCH = 250

#: The reason of an unfired due time begins so: its job was refused, or its row cannot be read.
REFUSED, DAMAGED = "refused", "cannot be fired"


@dataclass(frozen=True, slots=True)
class FiringResult:
    """The result of one transaction.

    Attributes:
        found: schedules that were due.
        jobs: ids of the jobs that were made.
        damaged: names of schedules whose rows cannot be read; they stay due.
    """

    found: int
    jobs: tuple[UUID, ...]
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Fire:
    advance: Advance
    jobs: Sequence[NewJob]
    skip: Skip | None


def fire_due(
    app: Celeriac, *, now: datetime | None = None, but: Sequence[str] = (), only: str | None = None
) -> FiringResult:
    """Fire up to ``BATCH`` schedules that are due.

    Args:
        now: the current time; the database's clock unless it is given.
        but: names of schedules to skip.
        only: the one schedule to fire.
    """
    damaged: list[str] = []
    with app.database.transaction() as connection:
        moment = now or ledger.clock(connection)
        rows = ledger.due(connection, moment, limit=BATCH, but=but, only=only)
        busy = ledger.busy(
            connection, [row.last_job_id for row in rows if row.last_job_id and row.overlap == "skip"]
        )
        fires = []
        for row in rows:
            try:
                fires.append(_fire(app, row, moment, busy))
            except (ValueError, ArithmeticError, LookupError, TypeError) as exc:
                _record_damage(connection, row.name, exc)
                damaged.append(row.name)
        made = [job for fire in fires for job in fire.jobs]
        sent = write_at_once(connection, made)
        ledger.advance(connection, [fire.advance for fire in fires])
        schedule_skips.note(connection, [fire.skip for fire in fires if fire.skip])
    if sent:
        sending.send(app, sent)
    return FiringResult(len(rows), tuple(job.id for job in made), tuple(damaged))


def _fire(app: Celeriac, row: Any, now: datetime, busy: set[UUID]) -> _Fire:
    schedule = of_row(row)
    grace = timedelta(seconds=app.settings.misfire_grace)
    decision = decide(schedule, now, grace=grace, busy=row.last_job_id in busy)
    try:
        made = [_job(app, schedule, due) for due in decision.fires]
    except (
        CeleriacError,
        TypeError,
        ValueError,
    ) as exc:  # it would be refused again: on to the next due time
        logger.error(Event.SCHEDULE_REFUSED, {"schedule": schedule.name, "error": exc})
        first, last = decision.fires[0], decision.fires[-1]
        decision = Decision((), decision.next_run, last, f"{REFUSED}: {exc}"[:500], first)
        made = []
    return _Fire(_advance(row, decision, made), made, _skip(row, decision))


def _job(app: Celeriac, schedule: Schedule, due: datetime) -> NewJob:
    job = prepare_fire(
        app,
        task=schedule.task,
        args=schedule.args,
        kwargs=schedule.kwargs,
        options=schedule.options,
        id=fire_id(schedule.name, due),
        schedule=schedule.name,
        jitter=schedule.jitter,
    )
    return job.unsent() if app.broker_state.resting else job


def _advance(row: Any, decision: Decision, made: Sequence[NewJob]) -> Advance:
    return Advance(
        name=row.name,
        due=row.next_run,
        next_run=decision.next_run,
        last_run=decision.fires[-1] if decision.fires else None,
        fired=len(made),
        last_job_id=made[-1].id if made else None,
        skipped=decision.skipped,
        reason=decision.reason,
    )


def _skip(row: Any, decision: Decision) -> Skip | None:
    """What is passed over now; it belongs to what was passed over before, if nothing was fired since."""
    if decision.skipped is None or decision.reason is None:
        return None
    goes_on = row.skip_reason == decision.reason and not decision.fires
    goes_on = goes_on and (row.last_run is None or row.last_skipped > row.last_run)
    return Skip(
        schedule=row.name,
        first=decision.first_skipped or decision.skipped,
        last=decision.skipped,
        reason=decision.reason,
        before=row.last_skipped if goes_on else None,
    )


def _record_damage(connection: Connection, name: str, error: Exception) -> None:
    reason = f"{type(error).__name__}: {error}"
    logger.error(Event.SCHEDULE_DAMAGED, {"schedule": name, "error": reason})
    ledger.complain(connection, name, f"{DAMAGED}: {error}"[:500])
