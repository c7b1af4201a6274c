"""How many messages a channel draws, and the lane past kombu's objects that some of them take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from kombu.transport import virtual


class QoS(virtual.QoS):
    """How many messages are drawn.

    Attributes:
        least: ask for messages only when there is room for so many. One question for each finished job
            would be a third of the event loop's work while jobs take a few milliseconds.
    """

    restore_at_shutdown = False
    least = 1

    def can_consume(self) -> bool:
        if not super().can_consume():
            return False
        room = self.can_consume_max_estimate()
        return room is None or room >= self.least

    def can_consume_max_estimate(self) -> int | None:
        """As kombu's, less what was drawn into the lean lane."""
        room: int | None = super().can_consume_max_estimate()
        return None if room is None else max(0, room - len(self.channel.lean_lane or ()))


class LeanLane(Protocol):
    """Takes messages before they are made into objects of kombu's."""

    def __len__(self) -> int: ...
    def take(self, items: Sequence[bytes], queue: str, channel: Any) -> list[bytes]:
        """Take what it can of the items of a list; return the others."""
