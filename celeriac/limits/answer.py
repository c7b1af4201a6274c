"""The answer to a call: the result of its own job, or of the one that has its key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celeriac.limits.unique_rules import says

#: The option of a call in which its answer travels to the door.
ANSWER = "celeriac_answer"


class Answer:
    """Makes the result of one call, once the door has said which job it is.

    Celery calls it with the id that it has chosen for the call, when the message is sent.

    Attributes:
        task_id: of the job that has the call's key; None: the call has a job of its own.
    """

    task_id: str | None = None

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make

    def __call__(self, task_id: str) -> Any:
        return self._make(self.task_id or task_id)


def awaiting_answer(app: Any, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """``options`` of a call whose id nobody knows yet; with an answer, where it may be another job's."""
    if not says(options) and getattr(app._tasks.get(name), "_uniqueness", None) is None:
        return options
    answer = Answer(options.get("result_cls") or app.AsyncResult)
    return {**options, "result_cls": answer, ANSWER: answer}
