"""The states of a job and the moves between them, as data.

The guards of every write, the documentation and the exhaustive test are made from ``ENTERED_FROM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class JobState(StrEnum):
    """What the ledger says of a job; a text, too.

    >>> JobState("failed") is JobState.FAILED, JobState.FAILED == "failed"
    (True, True)
    """

    PENDING = "pending"  # waits for its first attempt, or was given back unrun
    RUNNING = "running"  # claimed by a worker for one attempt
    COMPLETED = "completed"  # an attempt was successful
    ERROR = "error"  # an attempt failed, another will follow
    FAILED = "failed"  # given up: the dead letter
    CANCELLED = "cancelled"  # by request, or because it expired; it never runs again


class AttemptKind(StrEnum):
    """Why an attempt was not successful."""

    ERROR = "error"  # the task raised
    TIMEOUT = "timeout"  # a soft or hard time limit
    LOST = "lost"  # its child or its worker died
    REJECTED = "rejected"  # the task raised Reject
    INVALID = "invalid"  # the message could not be understood, or no worker knows its task
    CANCELLED = "cancelled"  # terminated on request


#: Which states a state may be entered from. Enqueue enters ``pending`` (and, for what cannot be
#: read, ``failed``) from nothing.
ENTERED_FROM: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        JobState.PENDING: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
        JobState.RUNNING: frozenset({JobState.PENDING, JobState.ERROR}),
        JobState.COMPLETED: frozenset({JobState.RUNNING}),
        JobState.ERROR: frozenset({JobState.RUNNING}),
        JobState.FAILED: frozenset({JobState.RUNNING, JobState.PENDING, JobState.ERROR}),
        JobState.CANCELLED: frozenset({JobState.RUNNING, JobState.PENDING, JobState.ERROR}),
    }
)

#: States that only a replay leaves.
TERMINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})

#: States in which a job waits to be claimed.
WAITING = ENTERED_FROM[JobState.RUNNING]
