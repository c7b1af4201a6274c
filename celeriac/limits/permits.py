"""Which permits a job takes: one of each limit of its task, each with the key of the call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from celeriac.errors import BadArgument
from celeriac.limits.limit import FAIR, MOST, ORDERED, Limit
from celeriac.names import NAME_LENGTH, check_text

#: The lines of jobs are named in this namespace.
_LINES = UUID("6f6e6c69-6e65-5f6c-8d69-6d6974735f31")


class Permit(NamedTuple):
    """What a job takes of one limit.

    Attributes:
        name: the limit and the key, as ``tenant:42``; without a key ``stripe:``.
    """

    name: str
    weight: int

    @property
    def limit(self) -> str:
        return limit_of(self.name)


def limit_of(permit: str) -> str:
    """
    >>> limit_of("tenant:a:b")
    'tenant'
    """
    return permit.partition(":")[0]


def key_of(permit: str) -> str:
    """
    >>> key_of("tenant:a:b")
    'a:b'
    """
    return permit.partition(":")[2]


def is_order(permit: str) -> bool:
    """
    >>> is_order("ordered/accounts:7"), is_order("tenant:7")
    (True, False)
    """
    return permit.startswith(ORDERED)


def is_fair(permit: str) -> bool:
    """Whether it is of a fair queue."""
    return permit.startswith(FAIR)


def line_of(permits: Sequence[Permit]) -> UUID:
    """The line in which jobs with these permits wait together. All jobs of an order's key are in one.

    >>> line_of([Permit("a:", 1)]) == line_of([Permit("a:", 2)]) != line_of([Permit("b:", 1)])
    True
    """
    return line_of_names([permit.name for permit in permits])


def line_of_names(names: Sequence[str]) -> UUID:
    """The same, of the permits' names."""
    told = names[:1] if is_order(names[0]) else names
    return uuid5(_LINES, "\n".join(told))


def permits_of(
    task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], *, given: object = None, before: object = None
) -> tuple[Permit, ...]:
    """The permits of a call of ``task``.

    Args:
        given: the call's ``limit_key``: the key of all limits that have one, or a mapping of names to keys.
        before: the permits of the attempt before, as they stand in its message: a retry need not say them.

    Raises:
        BadArgument: a key is not there, or can be none.
    """
    limits: Sequence[Limit] = task._limits if task is not None else ()
    if not limits:
        if given is not None:
            raise BadArgument("limit_key", "the task has no limit with a key")
        return ()
    _check_given(limits, given)
    known = _known(before)
    return tuple(Permit(_name(task, limit, args, kwargs, given, known), limit.weight) for limit in limits)


def written(permits: Sequence[Permit]) -> list[list[Any]]:
    """Permits as a message's header has them."""
    return [[permit.name, permit.weight] for permit in permits]


def read(header: object) -> tuple[Permit, ...]:
    """Permits from a message's header; nothing where it is none of ours.

    >>> read([["a:", 1]]), read([["a:"]]), read("x")
    ((Permit(name='a:', weight=1),), (), ())
    """
    if not isinstance(header, list) or len(header) > MOST:
        return ()
    found = tuple(
        Permit(each[0], each[1])
        for each in header
        if isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) and isinstance(each[1], int)
    )
    return found if len(found) == len(header) else ()


def _known(before: object) -> dict[str, str]:
    return {permit.limit: key_of(permit.name) for permit in read(before)}


def _check_given(limits: Sequence[Limit], given: object) -> None:
    with_key = [limit.name for limit in limits if limit.key is not None and not is_order(limit.name)]
    if given is not None and not with_key:
        raise BadArgument("limit_key", "the task has no limit with a key")
    for name in given if isinstance(given, Mapping) else ():
        if name not in with_key:
            raise BadArgument("limit_key", f"the task has no limit {name!r} with a key, only {with_key}")


def _name(
    task: Any,
    limit: Limit,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    given: object,
    before: Mapping[str, str],
) -> str:
    if limit.key is None:
        return f"{limit.name}:"
    said = given.get(limit.name) if isinstance(given, Mapping) else given
    if is_order(limit.name):
        said = None  # what the call says is of the other limits
    if said is None:
        said = _from_arguments(task, limit, args, kwargs, before)
    if not isinstance(said, str | int | UUID) and said is not None:
        raise BadArgument(f"limit {limit.name!r}", f"its key is to be text or a number, found {said!r}")
    name = f"{limit.name}:{'' if said is None else said}"
    return check_text(f"key of the limit {limit.name!r}", name, length=NAME_LENGTH)


def _from_arguments(
    task: Any, limit: Limit, args: Sequence[Any], kwargs: Mapping[str, Any], before: Mapping[str, str]
) -> object:
    if limit.key is True:
        if limit.name in before:
            return before[limit.name]
        raise BadArgument("limit_key", f"each call must say the key of the limit {limit.name!r}")
    if callable(limit.key):
        return limit.key(*args, **kwargs)
    found = argument(task, str(limit.key), args, kwargs)
    if found is MISSING and task._called is None:
        text = f"its key is the argument {limit.key!r}, which a call of a batch task passes by its name"
        raise BadArgument(f"limit {limit.name!r}", text)
    if found is MISSING:
        raise BadArgument(f"limit {limit.name!r}", f"the task has no argument {limit.key!r} for its key")
    return found


#: What ``argument`` returns of one that a task does not have.
MISSING = object()


def argument(task: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
    """The value of an argument of a call, by its name; or else MISSING.

    Of a batch task only what is passed by its name is known.

    Raises:
        BadArgument: the arguments do not fit the task.
    """
    if (called := task._called) is None:
        return kwargs.get(name, MISSING)
    try:
        bound = inspect.signature(called).bind_partial(*args, **kwargs)
    except TypeError as exc:
        raise BadArgument("arguments", str(exc)) from None
    bound.apply_defaults()
    if name in bound.arguments:
        return bound.arguments[name]
    for extra in bound.arguments.values():  # of a function that takes **kwargs
        if isinstance(extra, dict) and name in extra:
            return extra[name]
    return MISSING
