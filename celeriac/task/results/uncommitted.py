"""Refuse to wait for a result that cannot come while the caller waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celeriac.errors import NotCommitted
from celeriac.ids import row_id

if TYPE_CHECKING:
    from celeriac.application import Celeriac


def refuse_uncommitted(app: Celeriac, results: Sequence[Any]) -> None:
    """Refuse to wait for jobs that nobody can run while the caller waits.

    Raises:
        NotCommitted: the caller's own transaction has enqueued one of them.
    """
    if app.framework is None:
        return
    jobs = [job for result in results if (job := row_id(getattr(result, "id", None))) is not None]
    if found := app.framework.uncommitted(jobs):
        raise NotCommitted(str(found[0]))
