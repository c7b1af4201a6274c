"""The key of a call: which other calls mean the same job."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any
from uuid import UUID

from kombu.utils.json import JSONEncoder

from celeriac.errors import BadArgument
from celeriac.limits.unique import Names, OnConflict, Rule, While

#: Of a key: characters of the task's name, and hexadecimal digits of the arguments' hash.
_NAME, _DIGITS = 200, 32

_encode = JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True)
class UniqueCall:
    """What one call says of its key.

    Attributes:
        key: names the call among all that mean the same job.
        promised: whether its own id is known to others, or something follows it: then it has a row of its
            own in any case. Where another job has the key, this row follows that job.
        holds: whether its row is to take the key. Otherwise a keeper decides later whether it may.
        follows: the job whose result its row takes; None: it runs itself.
    """

    key: str
    rule: Rule
    promised: bool = True
    holds: bool = False
    follows: UUID | None = None

    def written(self) -> list[Any]:
        """As its message has it, for whoever decides later or ends the job.

        >>> read(UniqueCall("k", Rule(None, While.ACTIVE)).written()).rule.while_
        <While.ACTIVE: 'active'>
        """
        rule = self.rule
        return [self.key, str(rule.while_), str(rule.on_conflict), rule.period, rule.wait, rule.at_most]


def read(header: object) -> UniqueCall | None:
    """The call that ``written`` told; None where it is none of ours.

    >>> read("x"), read(["k", "never", "keep", 0, None, None]), read(None)
    (None, None, None)
    """
    if not isinstance(header, list) or len(header) != 6 or not isinstance(header[0], str):
        return None
    key, span, conflict, period, wait, most = header
    try:
        rule = Rule(None, While(span), OnConflict(conflict), float(period), wait, most)
    except (TypeError, ValueError):
        return None
    return UniqueCall(key, rule)


class KeyMaker:
    """Makes the keys of calls of one task under one rule.

    Args:
        task: its name.
        run: the function whose parameters its calls have; None: they are not known (its code is elsewhere,
            or it is a batch), and only arguments that are passed by name are.
    """

    def __init__(self, task: str, run: Callable[..., Any] | None, rule: Rule) -> None:
        self._task = task
        self._run = run
        self._names: Names = rule.args
        self._option = rule.option

    def key(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The key of a call with these arguments.

        Raises:
            BadArgument: an argument that makes the key is not there.
        """
        text = _encode([self._task, self._chosen(self._named(args, kwargs))])
        digest = sha256(text.encode()).hexdigest()[:_DIGITS]
        return f"{self._task[:_NAME]}:{digest}"

    @cached_property
    def _signature(self) -> inspect.Signature | None:
        try:
            return inspect.signature(self._run) if self._run is not None else None
        except (TypeError, ValueError):  # a function of another language
            return None

    def _named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments by their names, defaults included."""
        if self._signature is None:
            return {**({"*": list(args)} if args else {}), **kwargs}
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise BadArgument("arguments", str(exc)) from None
        bound.apply_defaults()
        found = dict(bound.arguments)
        for name, parameter in self._signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                found |= found.pop(name)
        return found

    def _chosen(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._names is None:
            return found
        if missing := [name for name in self._names if name not in found]:
            known = ", ".join(found) or "none"
            reason = f"the call of {self._task} has no argument {missing[0]!r} for its key, found {known}"
            raise BadArgument(self._option, reason)
        return {name: found[name] for name in self._names}
