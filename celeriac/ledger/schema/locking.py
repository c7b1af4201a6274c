"""Lock many rows in the order of their ids. Two statements that do so can never deadlock."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select

from celeriac.ledger.schema.models import JOBS


def in_order(*conditions: Any, skip: bool = False) -> Select[Any]:
    """A SELECT of the ids that fulfil ``conditions``, which locks the rows in id order; for ``id IN (…)``.

    Args:
        skip: leave out rows that another transaction has locked, instead of waiting for them.
    """
    chosen = select(JOBS.c.id).where(*conditions).order_by(JOBS.c.id)
    return chosen.with_for_update(skip_locked=skip, key_share=True)
