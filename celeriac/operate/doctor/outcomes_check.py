"""Whether the live workers can record the outcomes of their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from celeriac.display import safe
from celeriac.ledger.upkeep import worker_rows
from celeriac.operate.doctor.finding import Area, Finding, fail, ok

if TYPE_CHECKING:
    from celeriac.application import Celeriac


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    troubled: Sequence[tuple[str, str]]  # name of a live worker, and its trouble


def read(app: Celeriac) -> Facts:
    within = timedelta(seconds=app.settings.worker_timeout)
    with app.database.reading() as connection:
        return Facts(troubled=worker_rows.troubled(connection, within=within))


def judge(facts: Facts) -> list[Finding]:
    if not facts.troubled:
        return [ok(Area.WORKERS, "outcomes", "no worker says that it cannot record outcomes")]
    remedy = "see its log; what it holds is kept, and written as soon as the database takes it"
    return [
        fail(Area.WORKERS, "outcomes", f"{name}: {safe(trouble, length=200)}", remedy=remedy)
        for name, trouble in facts.troubled
    ]
