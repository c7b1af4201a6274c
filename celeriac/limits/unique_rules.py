"""Which rule a call obeys: what it says of itself, or else what its task declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from celeriac.errors import BadArgument
from celeriac.limits.calls_in_time import Debounce, Throttle, is_time
from celeriac.limits.unique import Rule, Unique

_Kind: TypeAlias = "type[Unique] | type[Debounce] | type[Throttle]"

#: The options of tasks and calls that make a rule. A call obeys one of them.
KINDS: Mapping[str, _Kind] = {"unique": Unique, "debounce": Debounce, "throttle": Throttle}

_WANTED = {
    "unique": "a Unique",
    "debounce": "seconds or a Debounce",
    "throttle": "seconds or a Throttle",
}


def declared(*, unique: object = None, debounce: object = None, throttle: object = None) -> Rule | None:
    """The rule that a task declares by its attributes of these names.

    An attribute with anything else in it than these options take is the author's own.

    Raises:
        BadArgument: it can mean nothing, or two of them are declared.

    >>> declared(), declared(unique=Unique(args=("order",))).args, declared(debounce=5).at_most
    (None, ('order',), 50.0)
    """
    if unique is None and debounce is None and throttle is None:
        return None
    said = {"unique": unique, "debounce": debounce, "throttle": throttle}
    ours = {name: value for name, value in said.items() if _is_ours(name, value)}
    return _only(ours)


def of_call(options: Mapping[str, Any], task: Rule | None) -> Rule | None:
    """The rule of one call: what its options say, or else the task's.

    Raises:
        BadArgument: it says something that can mean nothing, or two rules.

    >>> of_call({"unique": False}, declared(unique=Unique())), of_call({}, None)
    (None, None)
    >>> of_call({"unique": {"args": ["order"], "while_": 60}}, None).period
    60.0
    """
    said = {name: options[name] for name in KINDS if options.get(name) is not None}
    if not said:
        return task
    return _only({name: value for name, value in said.items() if value is not False})


def says(options: Mapping[str, Any]) -> bool:
    """Whether a call says a rule of its own, or none.

    >>> says({"throttle": 60}), says({"countdown": 60})
    (True, False)
    """
    return any(options.get(name) is not None for name in KINDS)


def _is_ours(name: str, value: object) -> bool:
    return isinstance(value, KINDS[name]) or (name != "unique" and is_time(value))


def _only(said: Mapping[str, object]) -> Rule | None:
    rules = [_read(name, value) for name, value in said.items()]
    if len(rules) > 1:
        first, second = list(said)[:2]
        raise BadArgument(second, f"a call obeys one rule, and there is {first} beside it: choose one")
    return rules[0] if rules else None


def _read(name: str, said: object) -> Rule:
    found = KINDS[name]._read(said)
    if found is None:
        raise BadArgument(name, f"wanted {_WANTED[name]}, or False for none, found {said!r}")
    return found._rule
