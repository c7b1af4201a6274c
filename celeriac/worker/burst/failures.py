"""What is told of a job whose child has died or was killed."""

from __future__ import annotations

from billiard.common import human_status
from billiard.einfo import ExceptionInfo
from billiard.exceptions import TimeLimitExceeded, WorkerLostError


def lost(exitcode: int | None) -> ExceptionInfo:
    """Its child has ended with ``exitcode``."""
    try:
        raise WorkerLostError(f"Worker exited prematurely: {human_status(exitcode)}.")
    except WorkerLostError:
        return ExceptionInfo()


def timed_out(seconds: float | None) -> ExceptionInfo:
    """Its child was killed for its hard time limit."""
    try:
        raise TimeLimitExceeded(seconds)
    except TimeLimitExceeded:
        return ExceptionInfo()
