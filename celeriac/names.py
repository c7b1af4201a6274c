"""Check names of tasks, queues, users, keys and schemas that come from outside."""

from __future__ import annotations

import re

from celeriac.errors import BadArgument

#: The longest task name, queue name, user id, idempotency key or schedule name, in characters.
NAME_LENGTH = 255

#: What PostgreSQL takes as a schema's name without quotes, but for its own schemas.
_SCHEMA = re.compile(r"(?!pg_|information_schema$)[a-z][a-z0-9_]{0,62}")


def check_text(name: str, value: object, *, length: int) -> str:
    """``value``, checked: a text that both databases can store unchanged.

    Raises:
        BadArgument: it is no text, too long, or has a NUL or a lone surrogate.
    """
    if not isinstance(value, str):
        raise BadArgument(name, f"wanted text, found {type(value).__name__}")
    if not value:
        raise BadArgument(name, "wanted text, found an empty one")
    if len(value) > length:
        raise BadArgument(name, f"wanted at most {length} characters, found {len(value)}")
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadArgument(name, f"NUL and lone surrogates cannot be stored, found {value!r}")
    return value


def check_schema(name: str) -> str:
    """``name``, if it can be a schema's.

    Raises:
        ValueError: it cannot.

    >>> check_schema("Shop")
    Traceback (most recent call last):
    ValueError: wanted a schema's name of a-z, 0-9 and _, first a letter, not pg_…, found 'Shop'
    """
    if not _SCHEMA.fullmatch(name):
        raise ValueError(
            f"wanted a schema's name of a-z, 0-9 and _, first a letter, not pg_…, found {name[:80]!r}"
        )
    return name
