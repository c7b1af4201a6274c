"""A schedule of another scheduler, read; and what such a scheduler is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from celeriac.schedules.validation import ScheduleRequest

#: Celery's beat adds it to every schedule by itself; results in Redis have an end.
CLEANUP = "celery.backend_cleanup"
CLEANUP_REASON = "results in Redis have an end: nothing need be cleaned up"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldEntry:
    """A schedule as the other scheduler has it.

    Attributes:
        wanted: the same as ours; None: it cannot be.
        problem: why it cannot be; None: it can.
        last_run: when it was fired last; None: never, or not known.
    """

    name: str
    task: str
    wanted: ScheduleRequest | None = None
    problem: str | None = None
    enabled: bool = True
    last_run: datetime | None = None
    run_count: int = 0


class OldSchedules(Protocol):
    """Where schedules come from."""

    def read(self) -> Sequence[OldEntry]:
        """Every schedule there, by name.

        Raises:
            BadArgument: it cannot be read; with what to do.
        """

    def switch(self, entry: OldEntry) -> None:
        """Write back there whether it is enabled, and when it was fired last."""
