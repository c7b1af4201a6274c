"""Functions and classes in ``task_routes``: each is asked where the app's tasks go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery.app.routes import prepare
from kombu.utils.functional import maybe_evaluate

_ASKED = 1_000  # tasks


@dataclass(frozen=True, slots=True)
class Routed:
    """What the routers say.

    Attributes:
        queues: what they name.
        unasked: routers that raised, with what they raised: their queues are not known.
    """

    queues: Sequence[str] = ()
    unasked: Sequence[str] = ()


def ask(routes: Any, tasks: Mapping[str, Any]) -> Routed:
    """Ask each router of ``routes`` about each of ``tasks``, without arguments, as a call would.

    Mappings are not asked: they can be read.
    """
    listed = routes if isinstance(routes, list | tuple) else [routes]
    queues: set[str] = set()
    unasked = []
    for router in (each for each in listed if each and not isinstance(each, Mapping | list | tuple)):
        try:
            queues |= set(_answers(router, tasks))
        except Exception as exc:  # a user's code, which may want arguments, a database or a request
            unasked.append(f"{_name(router)} raised {type(exc).__name__}")
    return Routed(sorted(queues), unasked)


def _answers(router: Any, tasks: Mapping[str, Any]) -> Iterator[str]:
    (asked,) = prepare([router])
    asked = maybe_evaluate(asked)  # one that is named in a string is imported here
    for name, task in list(tasks.items())[:_ASKED]:
        if hasattr(asked, "route_for_task"):
            answer = asked.route_for_task(name, (), {})
        else:
            answer = asked(name, (), {}, {}, task=task)
        queue = answer.get("queue") if isinstance(answer, Mapping) else answer
        if queue:
            yield str(getattr(queue, "name", queue))


def _name(router: Any) -> str:
    found = router if isinstance(router, str) else getattr(router, "__qualname__", None)
    return str(found or type(router).__qualname__)
