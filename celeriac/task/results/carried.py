"""A result that a child does not store: it travels with the outcome, into the row and then into the store.

So a child that runs short jobs has no round trip to Redis for each of them, and what is stored is on record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import signals
from celery.app.trace import task_has_custom

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_BEGIN = '{"result": '

#: What an author may have written to be called in the child when a job has ended well.
_HEARS = ("on_success", "after_return")


class CarriedResult(NamedTuple):
    """
    Attributes:
        meta: what Celery stores of the job, as JSON in ASCII.
        length: of the JSON of the return value in it.
    """

    meta: str
    length: int

    @classmethod
    def of(cls, value: str, rest: str) -> CarriedResult:
        """
        Args:
            value: JSON of the return value.
            rest: JSON of the meta without it.

        >>> carried = CarriedResult.of("[1]", '{"status": "SUCCESS"}')
        >>> carried.meta, carried.value
        ('{"result": [1], "status": "SUCCESS"}', '[1]')
        """
        return cls(f"{_BEGIN}{value}, {rest[1:]}", len(value))

    @property
    def value(self) -> str:
        """JSON of the return value, as the row has it."""
        return self.meta[len(_BEGIN) : len(_BEGIN) + self.length]


class Carrier:
    """In a child: takes the result of the job that runs.

    Args:
        keep: keeps a result where it outlives the child; returns False when there is no room for it.
    """

    def __init__(self, app: Celeriac, keep: Callable[[CarriedResult], bool]) -> None:
        self._tasks = app.tasks
        self._keep = keep
        self._task_id: str | None = None
        self._taken: CarriedResult | None = None
        self._heard: dict[str, bool] = {}

    def expect(self, task_id: str | None) -> None:
        """From now on it takes the result of this job, and of no other; None: of none."""
        self._task_id, self._taken = task_id, None

    def taken(self) -> CarriedResult | None:
        """The result of the job, if it has taken one."""
        return self._taken

    def wants(self, task_id: str, request: Any) -> bool:
        """Whether it takes the result of this attempt.

        What is to find the result stored, as a chord or a receiver that hears of the end, finds it so.
        """
        return (
            task_id == self._task_id
            and self._taken is None
            and request is not None
            and not (request.chord or request.ignore_result or signals.task_success.receivers)
            and not getattr(request, "completed_in", False)  # see ``complete_in``
            and not self._is_heard(request.task)
        )

    def take(self, carried: CarriedResult) -> bool:
        """Take a result; False: it is to be stored."""
        if self._keep(carried):
            self._taken = carried
        return self._taken is not None

    def _is_heard(self, name: str) -> bool:
        """Whether a task has a method of its own that is called when a job has ended well."""
        if (known := self._heard.get(name)) is None:
            task = self._tasks[name]
            known = self._heard[name] = any(task_has_custom(task, each) for each in _HEARS)
        return known
