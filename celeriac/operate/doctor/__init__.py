"""The doctor: examine an installation and report what is wrong, each with its remedy.

Each check is a module: ``read`` asks the servers and returns ``Facts``, ``judge`` decides from them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from celeriac.display import safe
from celeriac.errors import CeleriacError, LedgerUnfit, VersionsDoNotFit
from celeriac.operate.doctor import (
    beat_check,
    broker_check,
    database_check,
    file_modes_check,
    ledger_check,
    outcomes_check,
    pauses_check,
    retention_check,
    root_causes,
    schedules_check,
    sentinel_check,
    settings_check,
    shared_broker_check,
    workers_check,
)
from celeriac.operate.doctor.finding import Area, Finding, Level, fail, status
from celeriac.operate.doctor.flow import unique_check
from celeriac.operate.doctor.partitions import days_check

if TYPE_CHECKING:
    from celeriac.application import Celeriac

__all__ = ["Area", "Finding", "Level", "examine", "status"]

_Check = Callable[["Celeriac"], list[Finding]]

_CHECKS: Sequence[tuple[Area, _Check]] = (
    (Area.SETTINGS, lambda app: settings_check.judge(settings_check.read(app))),
    (Area.SETTINGS, settings_check.refused_tasks),
    (Area.SETTINGS, lambda app: file_modes_check.judge(file_modes_check.read(app))),
    (Area.BROKER, lambda app: broker_check.judge(broker_check.read(app))),
    (Area.BROKER, lambda app: sentinel_check.judge(sentinel_check.read(app))),
    (Area.BROKER, lambda app: shared_broker_check.judge(shared_broker_check.read(app))),
    (Area.DATABASE, lambda app: database_check.judge(database_check.read(app))),
    (Area.WORKERS, lambda app: workers_check.judge(workers_check.read(app))),
    (Area.WORKERS, lambda app: outcomes_check.judge(outcomes_check.read(app))),
    (Area.BEAT, lambda app: beat_check.judge(beat_check.read(app))),
    (Area.LEDGER, lambda app: ledger_check.judge(ledger_check.read(app))),
    (Area.LEDGER, lambda app: pauses_check.judge(pauses_check.read(app))),
    (Area.LEDGER, lambda app: unique_check.judge(unique_check.read(app))),
    (Area.LEDGER, lambda app: retention_check.judge(retention_check.read(app))),
    (Area.LEDGER, lambda app: days_check.judge(days_check.read(app))),
    (Area.SCHEDULES, lambda app: schedules_check.judge(schedules_check.read(app))),
)


def examine(app: Celeriac) -> list[Finding]:
    """Every finding, area by area. A failing check does not stop the others; each cause is reported once."""
    findings = [finding for area, check in _CHECKS for finding in _run_check(app, area, check)]
    return root_causes.merged(findings)


def _run_check(app: Celeriac, area: Area, check: _Check) -> list[Finding]:
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
    """The first line of an error. Drivers name the host in it, never the password."""
    return safe(str(getattr(error, "orig", None) or error).partition("\n")[0].rstrip(". "), length=200)
