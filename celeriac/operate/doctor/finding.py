"""The result of a check: one sentence, and a remedy unless all is well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Area(StrEnum):
    """What was examined, in this order."""

    SETTINGS = "settings"
    BROKER = "broker"
    DATABASE = "database"
    WORKERS = "workers"
    BEAT = "beat"
    LEDGER = "ledger"
    SCHEDULES = "schedules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    area: Area
    check: str
    level: Level
    sentence: str  # what was found
    remedy: str | None  # what to do about it; None: nothing


def ok(area: Area, check: str, sentence: str) -> Finding:
    return Finding(area=area, check=check, level=Level.OK, sentence=sentence, remedy=None)


def warn(area: Area, check: str, sentence: str, *, remedy: str) -> Finding:
    return Finding(area=area, check=check, level=Level.WARN, sentence=sentence, remedy=remedy)


def fail(area: Area, check: str, sentence: str, *, remedy: str) -> Finding:
    return Finding(area=area, check=check, level=Level.FAIL, sentence=sentence, remedy=remedy)


def status(findings: Iterable[Finding]) -> int:
    """The exit code: 0 all well, 1 something to look at, 2 something is broken.

    >>> status([ok(Area.BEAT, "leader", "leads")]), status([])
    (0, 0)
    """
    levels = {finding.level for finding in findings}
    return 2 if Level.FAIL in levels else 1 if Level.WARN in levels else 0
