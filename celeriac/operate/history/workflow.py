"""The workflow of a job: what belongs to it, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from celeriac.application import current_app
from celeriac.ledger.reads import workflow as ledger
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import Job

if TYPE_CHECKING:
    from celeriac.application import Celeriac

MOST = 10_000  # jobs that are counted
_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A job of a workflow."""

    id: str
    task: str
    state: JobState
    queued: datetime
    group_id: str | None  # of the group or chord; None: it is in none
    parent_id: str | None  # the job that enqueued it


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """
    Attributes:
        root: the job with which it began; it is not among the others.
        states: how many of the others are in which state, counted up to ``MOST``.
        members: some of the others, in the order in which they were accepted.
    """

    root: str
    states: dict[str, int]
    members: tuple[Member, ...]


def workflow(found: Job, *, app: Celeriac | None = None) -> Workflow | None:
    """What belongs together with this job; None: nothing does."""
    root, group = UUID(found.root_id or found.id), UUID(found.group_id) if found.group_id else None
    with current_app(app).database.reading() as connection:
        rows = ledger.others(connection, root, group, limit=_SHOWN)
        states = ledger.counts(connection, root, group, most=MOST) if rows else {}
    if not rows:
        return None
    members = [
        Member(
            id=str(row.id),
            task=row.job_type,
            state=JobState(row.state),
            queued=row.queued,
            group_id=None if row.group_id is None else str(row.group_id),
            parent_id=None if row.parent_id is None else str(row.parent_id),
        )
        for row in rows
    ]
    return Workflow(
        root=str(root), states=states, members=tuple(sorted(members, key=lambda each: (each.queued, each.id)))
    )
