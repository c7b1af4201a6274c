"""Job ids: time-ordered ones, and ones derived from a key, a due time or a task id that is no UUID."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from unicodedata import category
from uuid import UUID, uuid5

from celeriac.errors import BadArgument
from celeriac.names import NAME_LENGTH, check_text

#: Namespace of ids that are derived from a task and a key; made once, never to change.
_DERIVED = UUID("5d6ae0e4-6a35-4f0e-9a0c-6f2b6a1f7c5d")

#: Namespace of the ids of schedules' jobs; never to change.
_FIRES = UUID("f5a4a0c3-95bb-4a0e-8d3c-0b1f4ef6b1d2")

#: Namespace of the ids of rows whose task id is no UUID; never to change.
_TEXTS = UUID("ed6bc422-5933-4b64-b4b5-fec66d9aef20")


_RANDOM = 10  # bytes of an id, beside its moment


def new_id() -> str:
    """A new id, as Celery wants it."""
    return str(new_uuid())


def new_uuid() -> UUID:
    """A UUID of version 7: 48 bits of milliseconds, then random bits (RFC 9562, section 5.7).

    Ordered by time, so that new rows go to the end of the primary key's index.
    """
    return _version_7(os.urandom(_RANDOM))


def new_ids() -> Iterator[str]:
    """An endless iterator of ids, faster than single calls. Do not share it with a forked process."""
    while True:
        random = os.urandom(_RANDOM * 256)
        for start in range(0, len(random), _RANDOM):
            text = f"{_value(random[start : start + _RANDOM]):032x}"
            yield f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _version_7(random: bytes) -> UUID:
    return UUID(int=_value(random))


def _value(random: bytes) -> int:
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(random, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return value & ~(0x3 << 62) | 0x2 << 62


def derived_id(task: str, key: str) -> str:
    """The id of the one job of ``task`` with the idempotency key ``key``.

    >>> derived_id("mail.send", "42") == derived_id("mail.send", "42") != derived_id("mail.send", "43")
    True
    """
    return str(uuid5(_DERIVED, f"{len(task)}:{task}:{key}"))


def fire_id(schedule: str, due: datetime) -> UUID:
    """The id of the one job of ``schedule`` for its due time ``due``, whoever fires it and how often.

    >>> due = datetime(2026, 1, 1, tzinfo=UTC)
    >>> fire_id("nightly", due) == fire_id("nightly", due) != fire_id("nightly", due.replace(hour=1))
    True
    """
    return uuid5(_FIRES, f"{schedule}\n{due.astimezone(UTC).isoformat()}")


def row_id(value: object) -> UUID | None:
    """The id of the row whose Celery task id is ``value``; None when ``value`` can be no task id.

    A UUID, however it is spelled, is the row's own id. From any other text it is derived, always the same.

    >>> row_id("order-7") == row_id("order-7") != row_id("order-8")
    True
    """
    if (found := optional_id(value)) is not None:
        return found
    try:
        return uuid5(_TEXTS, _checked(value, "task_id"))
    except BadArgument:
        return None


def parse_row_id(value: object, *, name: str = "task_id") -> UUID:
    """The id of the row whose Celery task id is ``value``.

    Raises:
        BadArgument: ``value`` can be no task id.
    """
    if isinstance(value, UUID):
        return value
    return optional_id(value) or uuid5(_TEXTS, _checked(value, name))


def task_id_of(value: object) -> str:
    """``value`` as a task id: a UUID in the usual spelling, any other text as it is.

    >>> task_id_of("{0192D3A4-0000-7000-8000-000000000000}"), task_id_of("order-7")
    ('0192d3a4-0000-7000-8000-000000000000', 'order-7')

    Raises:
        BadArgument: it can be no task id.
    """
    found = optional_id(value)
    return _checked(value, "task_id") if found is None else str(found)


def _checked(value: object, name: str) -> str:
    text = check_text(name, value, length=NAME_LENGTH)
    if any(category(character) == "Cc" for character in text):
        raise BadArgument(name, f"wanted no control characters, found {text!r}")
    return text


def parse_id(value: object, *, name: str = "task_id") -> UUID:
    """The UUID that ``value`` spells.

    Raises:
        BadArgument: it spells none; the ledger keeps ids as UUIDs.
    """
    if isinstance(value, UUID):
        return value
    try:
        found = UUID(str(value))
    except ValueError:
        raise BadArgument(name, f"wanted a UUID, found {str(value)[:80]!r}") from None
    return found


def optional_id(value: object) -> UUID | None:
    """The UUID that ``value`` spells; None when it spells none."""
    try:
        return UUID(str(value)) if value else None
    except ValueError:
        return None
