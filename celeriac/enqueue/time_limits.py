"""The time limits that a message may carry: a child is killed by them, so they must be numbers."""

from __future__ import annotations

from typing import TypeAlias

from celeriac.errors import BadArgument

#: Seconds; no limit is longer.
LONGEST = 366 * 86_400

#: Seconds after which a child is killed, and after which its job is asked to end; None: no limit.
Limits: TypeAlias = tuple[float | None, float | None]


def read(found: object) -> Limits:
    """The hard and the soft limit of a message's header ``timelimit``; as in Celery, 0 is none.

    Raises:
        BadArgument: it is no pair, or one of them is no number of seconds.

    >>> read([30, None]), read(None), read([0, 0])
    ((30, None), (None, None), (None, None))
    """
    hard, soft = pair(found)
    if type(hard) in (int, float) and hard == 0:
        hard = None
    if type(soft) in (int, float) and soft == 0:
        soft = None
    return checked("time_limit", hard), checked("soft_time_limit", soft)


def pair(found: object) -> tuple[object, object]:
    """The two halves of a header ``timelimit``, whatever they are.

    Raises:
        BadArgument: there are not two.
    """
    if found is None:
        return None, None
    if not isinstance(found, list | tuple) or len(found) != 2:
        raise BadArgument("timelimit", f"wanted two limits, found {str(found)[:80]!r}")
    return found[0], found[1]


def checked(name: str, value: object) -> float | None:
    """``value``, which is None or a number of seconds.

    Raises:
        BadArgument: it is neither, or out of range.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST:
        found = str(value)[:80] if isinstance(value, int | float) else repr(value)[:80]
        raise BadArgument(name, f"wanted seconds above 0 and up to {LONGEST:,}, found {found}")
    return value
