"""Registration of tasks: whatever class they are made of, what is registered is one of ours.

A class that is given as ``base=`` or to ``register_task`` may be made on ``celery.Task`` and shared with
other apps, so it is never changed: the task gets a class below it, joined with ours.
"""

from __future__ import annotations

from typing import Any

from celery.app.registry import TaskRegistry
from kombu.utils.imports import symbol_by_name

from celeriac.errors import BadArgument


class Registry(TaskRegistry):
    """Celery's registry, through which every task comes, however it is declared."""

    def __setitem__(self, name: str, task: Any) -> None:
        # Slow to import: a probe, and a command that only reads, have no task.
        from celeriac.task.event_loop import complete_coroutines
        from celeriac.task.task import Task

        if not isinstance(task, Task):
            _join(task, Task)
        complete_coroutines(task)
        super().__setitem__(name, task)


def base_of_tasks(own: Any) -> type:
    """The class that all tasks of an app are made of: ours, or the team's ``task_cls`` joined with it."""
    from celery.app.task import Task as CeleryTask

    from celeriac.task.task import Task

    kind: Any = symbol_by_name(own)
    if kind is CeleryTask or kind is Task:
        return Task
    return kind if issubclass(kind, Task) else _joined(kind, Task, "task_cls")


def _join(task: Any, ours: type) -> None:
    """Join the class of ``task`` with ours."""
    try:
        task.__class__ = _joined(type(task), ours, str(task.name))
    except TypeError as exc:
        raise BadArgument(str(task.name), _reason(type(task), ours, exc)) from None


def _joined(own: Any, ours: type, what: str) -> type:
    kept = {"__module__": own.__module__, "__qualname__": own.__qualname__, "__doc__": own.__doc__}
    kept["acks_late"] = None  # asked of this app's settings: another app may have bound the class
    try:
        made: type = type(own)(own.__name__, (own, ours), kept)
    except TypeError as exc:
        raise BadArgument(what, _reason(own, ours, exc)) from None
    return made


def _reason(own: Any, ours: type, error: TypeError) -> str:
    return f"its class {own.__qualname__} cannot be joined with {ours.__module__}.Task: {error}"
