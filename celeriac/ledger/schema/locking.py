"""The one order in which a statement locks many rows: by their ids. Two that do so never wait in a circle."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select

from celeriac.ledger.schema.models import JOBS


def in_order(*conditions: Any, skip: bool = False) -> Select[Any]:
    """The ids of the jobs that fulfil ``conditions``, each locked before the next one; for ``id IN (…)``.

    Args:
        skip: leave out those that another transaction has locked, and wait for none.
    """
    chosen = select(JOBS.c.id).where(*conditions).order_by(JOBS.c.id)
    return chosen.with_for_update(skip_locked=skip, key_share=True)
