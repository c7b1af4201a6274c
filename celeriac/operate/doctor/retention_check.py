"""Whether old rows are deleted in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from celeriac.display import length
from celeriac.ledger.upkeep import prune
from celeriac.operate.doctor.finding import Area, Finding, ok, warn
from celeriac.retention import Retention

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_LATE = timedelta(days=2)  # a prune runs every day, and may have to be tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    kept: timedelta  # how long completed and cancelled jobs are to be kept
    late: bool  # whether some are there that should have gone days ago


def read(app: Celeriac) -> Facts:
    app.loader.import_default_modules()  # tasks have a ``keep_days`` of their own
    keep = Retention.of(app)
    age = (keep.done + _LATE).total_seconds()
    with app.database.reading() as connection:
        late = prune.is_late(connection, age=age, but=sorted(keep.tasks))
    return Facts(kept=keep.done, late=late)


def judge(facts: Facts) -> list[Finding]:
    if not facts.late:
        return [ok(Area.LEDGER, "retention", "no row outlives its retention")]
    sentence = f"jobs that are kept for {length(facts.kept)} are there {length(_LATE)} later: nobody prunes"
    remedy = 'run a beat; see `celery -A app schedules show "prune the ledger"`'
    return [warn(Area.LEDGER, "retention", sentence, remedy=remedy)]
