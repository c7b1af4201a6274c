"""Registration of tasks: whatever class they are made of, what is registered is one of ours.

A class that is given as ``base=`` or to ``register_task`` may be made on ``celery.Task`` and shared with
other apps, so it is never changed: the task gets a class below it, joined with ours.
"""

from __future__ import annotations

from typing import Any

from celery.app.registry import TaskRegistry

from celeriac.coroutines import refuse_coroutine
from celeriac.errors import BadArgument


class Registry(TaskRegistry):
    """Celery's registry, through which every task comes, however it is declared."""

    def __setitem__(self, name: str, task: Any) -> None:
        from celeriac.task.task import Task  # which knows the ORM, slow to import: not for a probe

        refuse_coroutine(name, task.run)
        refuse_coroutine(name, getattr(task, "_decorated_fun", None))
        if not isinstance(task, Task):
            _join(task, Task)
        super().__setitem__(name, task)


def _join(task: Any, ours: type) -> None:
    """Join the class of ``task`` with ours."""
    own: Any = type(task)
    kept = {"__module__": own.__module__, "__qualname__": own.__qualname__, "__doc__": own.__doc__}
    kept["acks_late"] = None  # asked of this app's settings: another app may have bound the class
    try:
        task.__class__ = type(own)(own.__name__, (own, ours), kept)
    except TypeError as exc:
        reason = f"its class {own.__qualname__} cannot be joined with {ours.__module__}.Task: {exc}"
        raise BadArgument(str(task.name), reason) from None
