"""Write the rows of foreign messages, in the turn that has met them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from celeriac.enqueue.unique.key_rules import AT_ONCE
from celeriac.ledger.writes.new_jobs import NewJob, enqueue
from celeriac.ledger.writes.unique.taking import take_or_postpone


def adopt(connection: Connection, jobs: Sequence[NewJob]) -> None:
    """Write the rows of ``jobs``; those that exist are left as they are."""
    enqueue(connection, [job for job in jobs if not job.unique])
    take_or_postpone(connection, [job for job in jobs if job.unique], AT_ONCE)
