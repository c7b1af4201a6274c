"""What ails an installation: facts are read, then judged; each finding has its remedy.

A module for each area: ``Facts``, ``read`` that asks for them, ``judge`` that decides and needs no server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from celeriac.display import safe
from celeriac.errors import CeleriacError, LedgerUnfit, VersionsDoNotFit
from celeriac.operate.doctor import (
    beat,
    broker,
    causes,
    database,
    files,
    ledger,
    neighbours,
    retention,
    schedules,
    settings,
    turns,
    workers,
)
from celeriac.operate.doctor.finding import Area, Finding, Level, fail, status

if TYPE_CHECKING:
    from celeriac.application import Celeriac

__all__ = ["Area", "Finding", "Level", "examine", "status"]

_Check = Callable[["Celeriac"], list[Finding]]

_CHECKS: Sequence[tuple[Area, _Check]] = (
    (Area.SETTINGS, lambda app: settings.judge(settings.read(app))),
    (Area.SETTINGS, settings.refused_tasks),
    (Area.SETTINGS, lambda app: files.judge(files.read(app))),
    (Area.BROKER, lambda app: broker.judge(broker.read(app))),
    (Area.BROKER, lambda app: neighbours.judge(neighbours.read(app))),
    (Area.DATABASE, lambda app: database.judge(database.read(app))),
    (Area.WORKERS, lambda app: workers.judge(workers.read(app))),
    (Area.WORKERS, lambda app: turns.judge(turns.read(app))),
    (Area.BEAT, lambda app: beat.judge(beat.read(app))),
    (Area.LEDGER, lambda app: ledger.judge(ledger.read(app))),
    (Area.LEDGER, lambda app: retention.judge(retention.read(app))),
    (Area.SCHEDULES, lambda app: schedules.judge(schedules.read(app))),
)


def examine(app: Celeriac) -> list[Finding]:
    """Every finding, area by area; what is broken in one does not hide the others, and is told once."""
    return causes.once([finding for area, check in _CHECKS for finding in _examined(app, area, check)])


def _examined(app: Celeriac, area: Area, check: _Check) -> list[Finding]:
    try:
        return check(app)
    except LedgerUnfit as exc:
        remedy = "see docs/operations.md, what the database must be"
        return [fail(area, "ledger", safe(str(exc), length=300), remedy=remedy)]
    except VersionsDoNotFit as exc:
        return [fail(area, "versions", str(exc), remedy="pip install --upgrade 'kombu[redis]'")]
    except (SQLAlchemyError, CeleriacError) as exc:
        remedy = "see DATABASE_URL, and `celery -A app db upgrade`"
        return [fail(area, "ledger", f"the ledger cannot be asked: {reason(exc)}", remedy=remedy)]
    except app.broker_errors as exc:
        remedy = "see CELERY_BROKER_URL"
        return [fail(area, "broker", f"Redis cannot be asked: {reason(exc)}", remedy=remedy)]


def reason(error: Exception) -> str:
    """Why something could not be asked, on one line; drivers name the host, never the password."""
    return safe(str(getattr(error, "orig", None) or error).partition("\n")[0], length=200)
