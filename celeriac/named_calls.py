"""Options of a call by a task's name: those of the task hold where the call says nothing.

Celery asks a task that is known for its options from 5.7 on. Before, ``send_task`` would put its job into
another queue than ``delay`` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery

#: Parameters of ``send_task`` that may be given by position, after ``task_id``.
_AFTER_TASK_ID = tuple(inspect.signature(Celery.send_task).parameters)[7:]


def options_of(task: Any, rest: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """All that ``send_task`` is given after ``task_id``, by name.

    Args:
        task: the one of that name; None where it is not known.
        rest: what was given by position.
        options: what was given by name.
    """
    given = dict(zip(_AFTER_TASK_ID, rest, strict=False)) | dict(options)
    if task is None or given.get("task_type") is not None:  # a task's own call has asked it
        return given
    known = task._get_exec_options()
    return {name: value for name, value in known.items() if value is not None} | given
