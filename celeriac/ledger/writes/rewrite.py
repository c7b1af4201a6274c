"""Rewrite: give a waiting row another message, for an attempt that retries or replaces itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Connection, Update, bindparam, case, func, update

from celeriac.ledger.schema.columns import Instant, Seconds, after
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes.new_jobs import IN_LINE, NewJob

_REWRITTEN = (
    "job_type",
    "queue",
    "priority",
    "payload",
    "content_type",
    "content_encoding",
    "headers",
    "message_tag",
    "timeout",
    "group_id",
)


#: What the row keeps unless the message says otherwise, and what the database's clock decides.
_COUNTED: Mapping[str, Any] = {
    "user_id": JOBS.c.user_id.type,
    "not_before": Instant(),
    "expires": Instant(),
    "expires_in": Seconds(),
}


def rewrite(connection: Connection, job: UUID, message: NewJob, *, expiry: bool) -> None:
    """Give the row of ``job`` the message; its not-before, when it has one, wins over the row's delay.

    Args:
        expiry: whether the message's expiry takes the place of the row's.
    """
    values = {f"to_{name}": getattr(message, name) for name in (*_REWRITTEN, *_COUNTED)}
    values |= {f"to_{name}": value for name, value in message.in_line.items()}
    values |= {"to_headers": dict(message.headers), "renews": expiry, "job": job}
    connection.execute(_rewrite(), values)


@lru_cache
def _rewrite() -> Update:
    fields: dict[str, Any] = {
        name: bindparam(f"to_{name}", type_=JOBS.c[name].type) for name in (*_REWRITTEN, *IN_LINE)
    }
    given = {name: bindparam(f"to_{name}", type_=kind) for name, kind in _COUNTED.items()}
    renewed = func.coalesce(given["expires"], after(given["expires_in"]))  # null seconds give null
    fields |= {
        "user_id": func.coalesce(given["user_id"], JOBS.c.user_id),
        "next_attempt_after": func.coalesce(given["not_before"], JOBS.c.next_attempt_after),
        "expires": case((bindparam("renews", type_=Boolean), renewed), else_=JOBS.c.expires),
    }
    return update(JOBS).where(JOBS.c.id == bindparam("job", type_=JOBS.c.id.type)).values(fields)
