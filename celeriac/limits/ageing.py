"""Ageing: a job that has waited for long in a low level moves up, so that it is not passed for ever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from celeriac.errors import BadArgument

#: The shortest time: a job must have had its chance.
_SHORTEST = 1.0


@dataclass(frozen=True, slots=True)
class Ageing:
    """
    Attributes:
        lanes: by lane, seconds until a job moves from low to normal; from there to high it is twice that.
        default: of the lanes that are not named; None: none moves.
    """

    lanes: Mapping[str, float]
    default: float | None

    @classmethod
    def parse(cls, items: Iterable[str]) -> Ageing:
        """
        Raises:
            BadArgument: it can mean nothing.

        >>> Ageing.parse(["imports=600"]).after("imports", "low"), Ageing.parse(["60"]).after("gpu", "normal")
        (600.0, 120.0)
        """
        lanes: dict[str, float] = {}
        default = None
        for item in items:
            lane, told, text = item.rpartition("=")
            try:
                seconds = float(text)
            except ValueError:
                seconds = 0.0
            if not _SHORTEST <= seconds < float("inf") or (told and not lane):
                raise BadArgument("ageing", f"wanted seconds from 1 on, or lane=seconds, found {item!r}")
            if told:
                lanes[lane] = seconds
            else:
                default = seconds
        return cls(MappingProxyType(lanes), default)

    def after(self, lane: str, level: str | None) -> float | None:
        """Seconds after which a job moves up from a level of a lane; None: it stays."""
        seconds = self.lanes.get(lane, self.default)
        if seconds is None or level not in NEXT:
            return None
        return seconds if level == "low" else seconds * 2


#: The level above another. Nothing becomes critical by waiting.
NEXT: Mapping[str, str] = MappingProxyType({"low": "normal", "normal": "high"})
