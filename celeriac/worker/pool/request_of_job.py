"""Find the request of a job in this worker's main process."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery.worker import state


def request_of(job: UUID) -> Any:
    """The request of the row ``job``; None when Celery has none in this worker.

    Celery keeps requests by their task ids. One that is no UUID is found by the row that it names.
    """
    found = state.requests.get(str(job))
    if found is not None:
        return found
    requests = list(state.requests.values())
    return next((request for request in requests if getattr(request, "job", None) == job), None)
