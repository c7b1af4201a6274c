"""Lists of messages in the broker that no worker draws from, with whose they are. Read, never changed."""

from __future__ import annotations

import json
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeriac.display import safe
from celeriac.priorities import FOREIGN, FOREIGN_LISTS, QUEUES

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_PORTION = 1000  # keys of one SCAN
_PATIENCE = 2.0  # seconds that a database of many keys is looked through
_REPLIES = ".pidbox"  # answers to remote control commands, which nobody fetched


@dataclass(frozen=True, slots=True, kw_only=True)
class UnconsumedList:
    """A list that holds messages and that nobody draws from.

    Attributes:
        task: of the message that would be drawn first.
        origin: the process that sent it, as Celery writes it; None when it does not say.
    """

    name: str
    messages: int
    task: str
    origin: str | None


def unconsumed_lists(app: Celeriac, *, drawn: Container[str]) -> list[UnconsumedList]:
    """Lists with messages of tasks, other than our own queues and those ``drawn``; none that it may not see.

    Raises:
        OSError, OperationalError, RedisError: the broker cannot be asked.
    """
    with app.connection_or_acquire() as connection:
        client = connection.default_channel.client
        names = [name for name in sorted(_lists(client)) if not _is_drawn(name, drawn)]
        found = [(name, client.lindex(name, -1), client.llen(name)) for name in names]
    return [each for name, oldest, count in found if (each := _undrawn(name, oldest, count))]


def _is_drawn(name: str, drawn: Container[str]) -> bool:
    if name in QUEUES or name in drawn or name.endswith(_REPLIES):
        return True
    return name in FOREIGN_LISTS and FOREIGN in drawn


def _lists(client: Any) -> Iterator[str]:
    ends = time.monotonic() + _PATIENCE
    cursor = 0
    while True:
        cursor, keys = client.scan(cursor, count=_PORTION, _type="list")
        yield from {bytes(key).decode(errors="replace") for key in keys}
        if not cursor or time.monotonic() > ends:
            return


def _undrawn(name: str, oldest: bytes | None, count: int) -> UnconsumedList | None:
    """None for a list that holds something else than messages of tasks."""
    try:
        headers = json.loads(oldest or b"")["headers"]
        task, origin = headers["task"], headers.get("origin")
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    return UnconsumedList(
        name=safe(name, length=80),
        messages=count,
        task=safe(str(task), length=80),
        origin=None if origin is None else safe(str(origin), length=80),
    )
