"""Check names of tasks, queues, users and keys that come from outside."""

from __future__ import annotations

from celeriac.errors import BadArgument

#: The longest task name, queue name, user id, idempotency key or schedule name, in characters.
NAME_LENGTH = 255


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
