"""Calls by a task's name: the id that a job is to have, and the options of its task.

Celery asks a task that is known for its options from 5.7 on. Before, ``send_task`` would put its job into
another queue than ``delay`` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery

from celeriac.ids import derived_id, task_id_of
from celeriac.names import NAME_LENGTH, check_text

_KEY = "idempotency_key"

#: Parameters of ``send_task`` that may be given by position, after ``task_id``.
_AFTER_TASK_ID = tuple(inspect.signature(Celery.send_task).parameters)[7:]


def wanted_id(running: Any, name: str, task_id: str | None, key: str | None) -> str | None:
    """The task id that a call asks for, itself or by its idempotency key; None: it asks for none.

    Args:
        running: the task that makes the call; None: no task does. A retry keeps the spelling that it has.

    Raises:
        BadArgument: the id or the key cannot be one.
    """
    if task_id is None:
        return None if key is None else derived_id(name, check_text(_KEY, key, length=NAME_LENGTH))
    is_retry = running is not None and running.request.id == task_id
    return task_id if is_retry else task_id_of(task_id)  # one spelling, in the row and in the message


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
