"""Whether a ledger that is divided by days has its coming days, and one that should be is divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from celeriac.ledger.days import ahead
from celeriac.ledger.partitions.layout import is_divided
from celeriac.operate.doctor.finding import Area, Finding, ok, warn

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_MOST = 1000  # rows that are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    wanted: bool  # whether CELERIAC_PARTITION says so
    divided: bool
    missing: int  # coming days without a partition
    strays: int  # rows of these days and of today that are in the default partition, counted up to a bound


def read(app: Celeriac) -> Facts:
    with app.database.reading() as connection:
        divided = is_divided(connection)
        missing = len(ahead.missing(connection))
        strays = ahead.strays(connection, most=_MOST)
    return Facts(wanted=app.settings.by_day, divided=divided, missing=missing, strays=strays)


def judge(facts: Facts) -> list[Finding]:
    """Nothing about a ledger that is not divided and need not be."""
    if not (facts.wanted or facts.divided):
        return []
    if not facts.divided:
        sentence = "CELERIAC_PARTITION is set, and the ledger is not divided by days"
        remedy = "`celery -A app db partition`, with all workers and producers stopped"
        return [warn(Area.LEDGER, "days", sentence, remedy=remedy)]
    remedy = "the role of DATABASE_URL must own the ledger's tables; or a long transaction was open"
    if facts.missing > 1:
        sentence = f"{facts.missing} coming days have no partition: their jobs go to the default one"
        return [warn(Area.LEDGER, "days", sentence, remedy=remedy)]
    if facts.strays >= _MOST:
        sentence = f"{_MOST:,} jobs or more of these days are in the default partition, which no prune drops"
        return [warn(Area.LEDGER, "days", sentence, remedy=remedy)]
    return [ok(Area.LEDGER, "days", "the coming days have partitions")]
