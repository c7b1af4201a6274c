"""Jobs that are about to be accepted, for tests that write rows or messages without a door."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celeriac.ids import new_id
from celeriac.ledger.writes.new_jobs import NewJob


def new_job(**changes: Any) -> NewJob:
    """A job that is about to be accepted, with an id of its own."""
    id = UUID(new_id())
    known: dict[str, Any] = {
        "id": id,
        "job_type": "mail.send",
        "queue": "normal",
        "priority": 10,
        "payload": b"[[], {}, {}]",
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"id": str(id), "task": "mail.send"},
        "max_tries": 5,
    }
    return NewJob(**(known | changes))
