"""Lists of messages in the broker that no worker consumes, and who sent them. Read only."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeriac.display import safe
from celeriac.headers import STAMP
from celeriac.ledger.schema.lanes import place_of
from celeriac.observe import redis_workers

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_SCAN_COUNT = 1000  # keys of one SCAN
_SCAN_SECONDS = 2.0  # a scan of a database with many keys ends after so long
_REPLIES = ".pidbox"  # the end of the names of lists with replies to remote control commands


@dataclass(frozen=True, slots=True, kw_only=True)
class UnconsumedList:
    """A list with messages that no worker consumes.

    Attributes:
        task: the task of the oldest message.
        origin: the process that sent it, as Celery writes it; None when it does not say.
    """

    name: str
    messages: int
    task: str
    origin: str | None


def unconsumed_lists(app: Celeriac, *, consumed: Collection[str]) -> list[UnconsumedList]:
    """The lists that hold messages of tasks and are neither of a lane of ours nor in ``consumed``.

    Lists of installations with another prefix are left out: they are consumed by their own workers.

    Raises:
        OSError, OperationalError, RedisError: the broker cannot be asked.
    """
    prefix = app.settings.prefix
    with app.connection_or_acquire() as connection:
        client = connection.default_channel.whole_keys
        lists = {key.removeprefix(prefix) for key in _keys(client, "list", f"{prefix}*")}
        known = _known(app, consumed)
        names = [name for name in sorted(lists) if name not in known and not name.endswith(_REPLIES)]
        others = tuple(_prefixes(client, prefix)) if any(":" in name for name in names) else ()
        names = [name for name in names if not name.startswith(others)]
        found = [(name, client.lindex(prefix + name, -1), client.llen(prefix + name)) for name in names]
    return [each for name, oldest, count in found if (each := _unconsumed(name, oldest, count))]


def other_prefixes(app: Celeriac) -> list[str]:
    """The prefixes of other installations whose workers drew from this Redis database within the hour.

    Raises:
        OSError, OperationalError, RedisError: the broker cannot be asked.
    """
    with app.connection_or_acquire() as connection:
        keys = _keys(connection.default_channel.whole_keys, "zset", f"*{redis_workers.KEY}")
        found = {key.removesuffix(redis_workers.KEY) for key in keys}
    return sorted(found - {app.settings.prefix})


def _prefixes(client: Any, prefix: str) -> Iterator[str]:
    """What the names below ``prefix`` begin with that are another installation's."""
    for key in _keys(client, "zset", f"{prefix}*:{redis_workers.KEY}"):
        yield key.removesuffix(redis_workers.KEY).removeprefix(prefix)


def _known(app: Celeriac, consumed: Collection[str]) -> set[str]:
    """The lists of the app's lanes, and what workers draw from, plain Celery's lists included."""
    queues = app.amqp.queues
    own = {each for lane in queues.declared_lanes() for each in queues.lanes.lists(lane)}
    drawn = {name for each in consumed for name in queues.lanes.foreign(each)}
    bare = {*consumed}
    return own | bare | {name for name in drawn if name.partition("\x06")[0] in bare}


def _keys(client: Any, kind: str, pattern: str) -> Iterator[str]:
    ends = time.monotonic() + _SCAN_SECONDS
    cursor = 0
    while True:
        cursor, keys = client.scan(cursor, match=pattern, count=_SCAN_COUNT, _type=kind)
        yield from {bytes(key).decode(errors="replace") for key in keys}
        if not cursor or time.monotonic() > ends:
            return


def _unconsumed(name: str, oldest: bytes | None, count: int) -> UnconsumedList | None:
    """None when it holds no messages of tasks, or such as have rows, which say more about them."""
    try:
        headers = json.loads(oldest or b"")["headers"]
        task, origin = headers["task"], headers.get("origin")
        if STAMP in headers and place_of(name).level is not None:
            return None
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    return UnconsumedList(
        name=safe(name, length=80),
        messages=count,
        task=safe(str(task), length=80),
        origin=None if origin is None else safe(str(origin), length=80),
    )
