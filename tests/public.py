"""What is public: every name of the face, of the public modules, and the members of their classes."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import celeriac
from celeriac import console, dead_letters, errors, schedules, testing
from celeriac.contrib import alembic

#: The modules besides the face itself; the names of each are those of its ``__all__``.
MODULES = {
    "celeriac.console": console,
    "celeriac.contrib.alembic": alembic,
    "celeriac.dead_letters": dead_letters,
    "celeriac.schedules": schedules,
    "celeriac.testing": testing,
}

#: Members that no team calls: Celery does, or our own code.
NOT_FOR_TEAMS = {
    "CallMetrics.collect",  # Prometheus does
    "Celeriac.AsyncResult",  # as in Celery
    "Celeriac.add_defaults",
    "Celeriac.backend",
    "Celeriac.broker_errors",
    "Celeriac.check_configuration",
    "Celeriac.create_task_cls",
    "Celeriac.current_worker_task",  # as in Celery
    "Celeriac.database",
    "Celeriac.producer_or_acquire",
    "Schedule.timing",
    "Task.annotate",
    "Task.bind",
    "Task.judge",
    "Task.makes_plain_jobs",
    "Task.max_retries",  # as in Celery
    "Task.on_replace",
    "Task.override_max_retries",
    "Task.request",  # as in Celery
    "Task.start_strategy",
}


def names() -> dict[str, Any]:
    """Every public object by its name; an object with two names is there twice."""
    found = {
        f"celeriac.{name}": getattr(celeriac, name) for name in celeriac.__all__ if name != "__version__"
    }
    for place, module in MODULES.items():
        found |= {f"{place}.{name}": getattr(module, name) for name in module.__all__}
    return found


def error_classes() -> dict[str, type[Exception]]:
    """Every error, by its name."""
    return {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and kind.__module__ == errors.__name__
    }


def members(kind: type) -> dict[str, Any]:
    """The public functions and properties that a class of ours defines itself."""
    return {
        name: member
        for name, member in vars(kind).items()
        if not name.startswith("_")
        and (callable(member) or isinstance(member, classmethod | staticmethod | property))
        and not inspect.isclass(member)
        and f"{kind.__name__}.{name}" not in NOT_FOR_TEAMS
    }


def documented() -> Iterator[tuple[str, Any]]:
    """Every public object once, and the members of its classes."""
    seen: set[int] = set()
    for name, found in names().items():
        if id(found) in seen or name.removeprefix("celeriac.") in error_classes():
            continue
        seen.add(id(found))
        yield name, found
        if inspect.isclass(found):
            for member, value in members(found).items():
                yield f"{name}.{member}", value


def examples() -> dict[str, doctest.DocTest]:
    """The examples of every public object, by its name; an object without one is not in here."""
    finder = doctest.DocTestParser()
    return {
        name: finder.get_doctest(text, {}, name, name, 0)
        for name, found in documented()
        if ">>> " in (text := inspect.getdoc(found) or "")
    }


def raised(text: str) -> list[str]:
    """The errors that a docstring names under ``Raises:``."""
    section = re.search(r"^Raises:\n((?:[ ]+.*(?:\n|$))+)", text, re.MULTILINE)
    lines = section.group(1).splitlines() if section else []
    found = [re.match(r" {4}([A-Z]\w+(?:, \w+)*):", line) for line in lines]
    return [name for match in found if match for name in match.group(1).split(", ")]


def place(found: Any) -> str:
    """Where ``found`` is defined: its module, and its name there."""
    if isinstance(found, ModuleType):
        return found.__name__
    inner = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
    return f"{inner.__module__}.{inner.__qualname__}"
