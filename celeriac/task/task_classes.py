"""What a task's class declares, and what is put around what it declares of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, wraps
from types import MappingProxyType
from typing import Any

from kombu.utils.imports import symbol_by_name

from celeriac.errors import BadArgument
from celeriac.ledger.writes.replay import ENDLESS
from celeriac.limits.limit import MOST, Limit
from celeriac.limits.limit import declared as declared_limits
from celeriac.limits.order import declared_order
from celeriac.limits.unique import Rule
from celeriac.limits.unique_rules import declared as declared_rule
from celeriac.priorities import parse as parse_priority
from celeriac.task.batch.declared import batch_of
from celeriac.task.batch.declared import settle as settle_batch

#: What ``declared`` says of a name that nobody declares.
ABSENT = object()

#: Marks a ``__call__`` around which the attempt is recorded already.
_RECORDS = "celeriac_records"


def declared(kind: type, name: str, *, below: type, kept_as: str = "") -> Any:
    """What ``kind``, or the nearest of its bases below ``below``, declares as ``name``; or else ABSENT.

    Args:
        kept_as: where a class keeps a declaration that was seen before; it ends the search.
    """
    for base in kind.__mro__[: kind.__mro__.index(below)]:
        if kept_as in base.__dict__:
            return ABSENT
        if name in base.__dict__:
            return base.__dict__[name]
    return ABSENT


def declarations(kind: type, *, below: type) -> dict[str, Any]:
    """What a class that is being made says of retries, priority and calls, itself or by a base."""
    kept_as = {"max_retries": "_declared_retries", "priority": "_own_priority", "__call__": ""}
    found = {name: declared(kind, name, below=below, kept_as=kept) for name, kept in kept_as.items()}
    return {name: value for name, value in found.items() if value is not ABSENT}


def settle(kind: Any, ours: Any, said: Mapping[str, Any]) -> None:
    """Put what was said of ``kind`` where the platform looks for it.

    Raises:
        BadArgument: a value cannot be right.
    """
    retries = said.get("max_retries", ABSENT)
    if retries is not ABSENT and not isinstance(retries, property):
        kind._declared_retries = retries
        kind.max_retries = ours.__dict__["max_retries"]  # the property, which knows the running job's limit
    if said.get("priority") is not None:
        if "priority" in kind.__dict__:
            del kind.priority  # which Celery 5.7 warns of as an attribute
        kind._own_priority = parse_priority(said["priority"])
    call = said.get("__call__")
    if call is not None and not records(call):
        kind.__call__ = recording(call)
    for name in _LEAST:
        check_option(name, getattr(kind, name), least=_LEAST[name])
    limits_of(kind)
    uniqueness_of(kind)
    settle_batch(kind)


def settle_annotations(kind: Any, ours: Any, before: Mapping[str, Any]) -> str | None:
    """Settle what ``task_annotations`` has put on ``kind``, as what its class says; return why it cannot be.

    Args:
        before: the attributes of ``kind`` before it was annotated.
    """
    try:
        settle(kind, ours, {name: vars(kind)[name] for name in replaced(kind, before)})
    except BadArgument as exc:
        return f"task_annotations: {exc}"
    return None


def limits_of(task: Any) -> tuple[Limit, ...]:
    """The limits that its jobs obey, that of its order first.

    An attribute ``limit`` with anything else in it is the author's own.

    Raises:
        BadArgument: they can mean nothing.
    """
    said = task.limit
    is_list = isinstance(said, list | tuple) and any(isinstance(each, Limit) for each in said)
    found = declared_limits(said) if is_list or isinstance(said, Limit) else ()
    order = declared_order(task.ordered_by)
    if order is None:
        return found
    if len(found) == MOST:
        raise BadArgument("ordered_by", f"an order is one of the {MOST} limits that a task may have")
    return (order._limit(task.name or "a class without a name"), *found)


def uniqueness_of(task: Any) -> Rule | None:
    """Which of its calls mean the same job; None: no two do.

    Raises:
        BadArgument: it can mean nothing.
    """
    return declared_rule(unique=task.unique, debounce=task.debounce, throttle=task.throttle)


def called(task: Any) -> Callable[..., Any] | None:
    """The function whose parameters its calls have; None: they are not known.

    The function of a batch has a list of jobs, and its calls have the arguments of one.
    """
    run: Callable[..., Any] = task.run
    return None if batch_of(task) is not None else run


def default_tries(task: Any) -> int:
    """Tries of a job that is enqueued with no word on it."""
    if task.max_tries is not None:
        return int(task.max_tries)
    said = type(task).max_retries
    if isinstance(said, property):
        said = task._declared_retries
    if said == "unset":
        return int(task.app.settings.max_tries)
    return ENDLESS if said is None else int(said) + 1


def priority_of(task: Any) -> int | None:
    """The priority of its jobs; unless it says one, that of ``task_default_priority``."""
    said = type(task).priority if task._own_priority is None else task._own_priority
    return None if said is None else parse_priority(said)


#: The least value of options that are numbers.
_LEAST = MappingProxyType({"max_tries": 1, "timeout": 0.001, "retry_base": 0, "retry_max": 0})

#: What is set on a task itself, and is more than an attribute: options of its calls, and what is checked.
SETTLED = frozenset(
    {"queue", "routing_key", "exchange", "priority", "expires", "serializer", "delivery_mode", "compression"}
    | {"time_limit", "soft_time_limit", "acks_late", "batch", *_LEAST}
)


def settled(name: str, value: Any) -> tuple[str, Any]:
    """The name and the value under which a task keeps what was set on it.

    Raises:
        BadArgument: it cannot be right, or be obeyed.
    """
    if name == "acks_late" and value is False:
        raise BadArgument(name, "the ledger needs late acknowledgement, found False")
    if name == "batch":
        raise BadArgument(name, "say it where the task is defined")
    if name in _LEAST:
        check_option(name, value, least=_LEAST[name])
    if name == "priority":
        return "_own_priority", None if value is None else parse_priority(value)
    return name, value


def replaced(kind: type, before: Mapping[str, Any]) -> dict[str, Any]:
    """Which attributes of ``kind`` are others than ``before``, with their values before; ABSENT: none."""
    names = [name for name, value in vars(kind).items() if before.get(name, ABSENT) is not value]
    return {name: before.get(name, ABSENT) for name in names if name not in _OF_THE_BINDING}


#: What a task has once it is bound, whatever is configured.
_OF_THE_BINDING = frozenset({"__bound__", "_app", "_exec_options", "request_stack", "_before_bind", "typing"})


def restore(kind: type, before: Mapping[str, Any]) -> None:
    """Give ``kind`` back the attributes that it had."""
    for name, value in before.items():
        if value is not ABSENT:
            setattr(kind, name, value)
        elif name in vars(kind):
            delattr(kind, name)


def refuses_late_acknowledgement(kind: type, *, below: type) -> bool:
    """Whether ``kind`` says so; a class that another app bound may have it from that app's settings."""
    for base in kind.__mro__[: kind.__mro__.index(below)]:
        if base.__dict__.get("acks_late") is not None:
            return base.__dict__["acks_late"] is False and not base.__dict__.get("__bound__")
    return False


def records(call: Any) -> bool:
    """Whether the attempt is recorded around this ``__call__``."""
    return hasattr(call, _RECORDS)


def recording(call: Callable[..., Any]) -> Callable[..., Any]:
    """A ``__call__`` of the author's own, with the attempt around it: it may end in ``self.run()``."""

    @wraps(call)
    def attempt(self: Any, *args: Any, **kwargs: Any) -> Any:
        request = self.request_stack.top
        if request is None or request.called_directly or request.is_eager or inside(request):
            return call(self, *args, **kwargs)
        request.celeriac_inside = True
        return self._attempt(request, partial(call, self), args, kwargs)

    setattr(attempt, _RECORDS, True)
    return attempt


def inside(request: Any) -> bool:
    """Whether the attempt of ``request`` is being recorded further out."""
    return bool(request.get("celeriac_inside"))


def request_class(own: Any, ours: Any) -> Any:
    """The class of a task's requests: the author's own, with ours behind it.

    Args:
        own, ours: classes, or their names.

    Raises:
        BadArgument: it is no class of requests.
    """
    own, ours = symbol_by_name(own), symbol_by_name(ours)
    if isinstance(own, type) and issubclass(own, ours):
        return own
    try:
        return type(own.__name__, (own, ours), {"__module__": own.__module__})
    except (TypeError, AttributeError) as exc:
        raise BadArgument("Request", f"wanted a subclass of Celery's Request, found {own!r}: {exc}") from None


def declared_names(kind: type, *, below: type) -> set[str]:
    """The attributes that a task class and its bases below ours declare."""
    return {name for base in kind.__mro__[: kind.__mro__.index(below)] for name in base.__dict__}


def check_option(name: str, value: object, *, least: float) -> None:
    """Raise BadArgument for an option of a task that is no number, or below ``least``."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise BadArgument(name, f"wanted a number of at least {least:g}, found {value!r}")
