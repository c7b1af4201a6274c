"""The states of a job and the moves between them, as data.

The guard of every write is made from ``ENTERED_FROM`` (``state_conditions.may_enter``), and so is the test
of every move from every state.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class JobState(StrEnum):
    """What the ledger says of a job. Each state: who sets it, who moves it on, how long a row stays in it.

    >>> JobState("failed") is JobState.FAILED, JobState.FAILED == "failed"
    (True, True)
    """

    # The job waits for its first attempt, or was given back without one.
    # Set by: enqueue. A worker that gives a job back (release), or whose task replaced itself. An operator's
    #   replay, or a call with the key of a job that was given up.
    # Moved on by: a worker's claim; a cancel, a purge of its queue, or a claim that finds it expired; a
    #   worker that meets a task which no living worker has known for an hour; the keeper, where a parked job
    #   waits in vain.
    # Stays: until it is due and a worker is free, however long that is; a parked job until it is sent.
    PENDING = "pending"

    # A worker holds the job for one attempt.
    # Set by: the claim.
    # Moved on by: the outcome that the same worker records for the same attempt; its release; the rescue by
    #   another worker's keeper, when the worker is dead.
    # Stays: as long as the attempt runs, or until ``worker_timeout`` after the worker's death.
    RUNNING = "running"

    # An attempt returned.
    # Set by: the outcome, or the rescue where the result store has the dead worker's result.
    # Moved on by: nobody; a prune deletes the row.
    # Stays: for ``keep_days``, or the task's own ``keep_days``.
    COMPLETED = "completed"

    # An attempt failed and a try is left: the job waits for the next attempt.
    # Set by: the outcome, or the rescue.
    # Moved on by: what moves a pending job on, but for the keeper: a job that failed is not parked.
    # Stays: for the task's backoff, then until a worker is free.
    ERROR = "error"

    # The job is given up: a dead letter.
    # Set by: the outcome or the rescue of the last try; a worker that meets a task which nobody has known for
    #   an hour, or a delivery that nobody can read; the keeper, for a workflow that cannot go on.
    # Moved on by: an operator's replay, or a call with the job's key; a discard or a prune deletes the row.
    # Stays: for ``keep_dead_days``.
    FAILED = "failed"

    # The job was cancelled, or it expired, or its queue was purged.
    # Set by: the cancel, where the job waits; the outcome or the release, where it ran and was asked to stop;
    #   a claim that finds the job expired; a purge; the keeper, where the job follows one that was cancelled,
    #   or is a duplicate that is to be refused.
    # Moved on by: as a failed job.
    # Stays: as a completed job.
    CANCELLED = "cancelled"


class AttemptKind(StrEnum):
    """Why an attempt was not successful."""

    ERROR = "error"  # the task raised
    TIMEOUT = "timeout"  # a soft or hard time limit
    LOST = "lost"  # its child or its worker died
    REJECTED = "rejected"  # the task raised Reject
    INVALID = "invalid"  # the message could not be understood, or no worker knows its task
    CANCELLED = "cancelled"  # terminated on request
    SNOOZED = "snoozed"  # the task asked to be left alone for a while, which costs no try


#: The states from which each state may be entered. A row begins as ``pending``; one that stands for a
#: delivery that nobody can read begins as ``failed``.
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


def sources(*targets: JobState) -> frozenset[JobState]:
    """The states from which each one of ``targets`` may be entered.

    >>> sorted(map(str, sources(JobState.CANCELLED)))
    ['error', 'pending', 'running']
    >>> sorted(map(str, sources(JobState.CANCELLED, JobState.PENDING)))
    ['running']
    """
    return frozenset(JobState).intersection(*(ENTERED_FROM[target] for target in targets))


#: States in which a job has ended.
TERMINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})

#: All others.
UNFINISHED = frozenset(JobState) - TERMINAL

#: States in which a job waits to be claimed.
WAITING = sources(JobState.RUNNING)

#: Terminal states that a job may leave: by a replay, or by a call with its key.
GIVEN_UP = sources(JobState.PENDING) & TERMINAL
