"""Options of ``self.retry``: which a retry may change, and how they become Celery's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celeriac.errors import BadArgument
from celeriac.headers import PROPERTIES
from celeriac.ledger.schema.lanes import DEFAULT, place_of
from celeriac.ledger.writes.replay import ENDLESS
from celeriac.priorities import level_of, parse, priority_of

#: What is of the job for as long as its row lives.
_FIXED = ("task_id", "idempotency_key", "schedule", "session")


class CallsLimit:
    """The retry limit that one call was given.

    Celery keeps it on the task object, which threads share, and asks by hasattr whether there is one. Here it
    is the running job's own.
    """

    def __get__(self, task: Any, kind: type | None = None) -> Any:
        if task is None:
            return self
        if "limit" not in task._stamp:
            raise AttributeError("override_max_retries")
        return task._stamp["limit"]

    def __set__(self, task: Any, value: int | None) -> None:
        task._stamp["limit"] = value

    def __delete__(self, task: Any) -> None:
        task._stamp.pop("limit", None)


def settled(
    options: Mapping[str, Any], max_retries: int | None, request: Any
) -> tuple[dict[str, Any], int | None]:
    """Options for Celery's ``retry``, and the limit of retries that they ask for.

    Raises:
        BadArgument: one of them cannot be changed, or says nothing that can be obeyed.
    """
    for name in _FIXED:
        if options.get(name) is not None and str(options[name]) != request.id:
            raise BadArgument(name, "is of the job, and a retry is the same job: it cannot change it")
    found = {name: value for name, value in options.items() if name not in (*_FIXED, "max_tries")}
    found |= _place(found, request.delivery_info or {}) | _limits(found, request)
    if found.get("headers") is not None and request.get(PROPERTIES):
        found["headers"] = {PROPERTIES: request.get(PROPERTIES), **found["headers"]}
    return found, _retries(options.get("max_tries"), max_retries)


def _place(options: Mapping[str, Any], place: Mapping[str, Any]) -> dict[str, Any]:
    """Priority and queue follow from each other, where the retry names one of them.

    Args:
        place: where the attempt's message lay; Celery takes it where the retry names none.
    """
    priority, queue = options.get("priority"), options.get("queue")
    own = str(place.get("routing_key") or DEFAULT)
    if priority is not None:
        return {} if queue is not None else {"queue": f"{place_of(own).lane}.{level_of(parse(priority))}"}
    name = own if queue is None else str(getattr(queue, "name", queue))
    if queue is not None and place_of(name).level is not None:
        return {"priority": priority_of(name)}
    if not place.get("priority"):  # 0 may be nobody's word: a foreign message says it of any queue
        return {"priority": priority_of(own)}
    return {}


def _limits(options: Mapping[str, Any], request: Any) -> dict[str, Any]:
    """Limits of the attempt before it that would be in the way of those that the retry names."""
    names = [name for name in ("soft_time_limit", "time_limit") if options.get(name) is not None]
    if options.get("timeout") is not None and not names:
        return {"soft_time_limit": None, "time_limit": None}
    hard, soft = request.timelimit or (None, None)
    if names == ["soft_time_limit"] and hard is not None and hard <= options["soft_time_limit"]:
        return {"time_limit": None}
    if names == ["time_limit"] and soft is not None and soft >= options["time_limit"]:
        return {"soft_time_limit": None}
    return {}


def _retries(max_tries: Any, max_retries: int | None) -> int | None:
    if max_tries is None:
        return max_retries
    if max_retries is not None:
        raise BadArgument("max_tries", "is max_retries + 1: give one of the two")
    if isinstance(max_tries, bool) or not isinstance(max_tries, int) or not 1 <= max_tries <= ENDLESS:
        raise BadArgument("max_tries", f"wanted an integer of at least 1, found {max_tries!r}")
    return max_tries - 1
