"""One look at a time: compare what is wrong with what was told, and enqueue what is to be told now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from celeriac.application import current_app
from celeriac.broker import sending
from celeriac.enqueue.prepare import prepare
from celeriac.ids import new_id
from celeriac.ledger.operators import alerts as ledger
from celeriac.ledger.writes.bulk_insert import enqueue_all
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.maintenance import ALERT
from celeriac.operate.alerts import troubles
from celeriac.operate.alerts.mutes import has_grown
from celeriac.operate.alerts.troubles import Trouble

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Seconds between two looks, of all processes together.
EVERY = 30.0

#: Seconds without a trouble after which it is over, so that what comes and goes is told once.
QUIET = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that is wrong and was told."""

    key: str
    kind: str
    sentence: str
    path: str  # of the console's page that shows the cause
    since: datetime  # when it was told first
    seen: datetime  # when it was still so
    size: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be told, and what is as it was."""

    raised: Sequence[Trouble]
    grown: Sequence[tuple[Trouble, int]]  # with the size that was told before
    same: Sequence[Trouble]
    gone: Sequence[Alert]
    muted: Sequence[Alert]  # known ones that nobody is told of any more


def look(app: Celeriac, *, every: float = EVERY, quiet: float = QUIET) -> int:
    """Tell what changed, if it is this process's turn; return how many alerts were told.

    The rows and the jobs that tell them are written in one transaction.
    """
    with app.database.transaction() as connection:
        mine = ledger.take_turn(connection, seconds=every * 0.9)
    if not mine:
        return 0
    found = troubles.find(app)
    with app.database.transaction() as connection:
        changes = compare(_known(connection), found.troubles, muted=found.muted)
        told = _write(connection, changes, quiet)
        jobs = prepared(app, told) if told else []
        new = enqueue_all(connection, jobs)
    if unsent := [job for job in jobs if job.id in new and job.dispatch_count]:
        sending.send(app, unsent)
    return len(told)


def list_alerts(*, app: Celeriac | None = None) -> list[Alert]:
    """What is wrong and was told, the newest first."""
    with current_app(app).database.reading() as connection:
        return _known(connection)


def compare(known: Sequence[Alert], found: Sequence[Trouble], *, muted: Collection[str] = ()) -> Changes:
    """What is new, larger, the same or gone.

    Args:
        muted: keys of what is neither told now nor when it is over.
    """
    silent = [alert for alert in known if alert.key in muted]
    known = [alert for alert in known if alert.key not in muted]
    found = [trouble for trouble in found if trouble.key not in muted]
    before = {alert.key: alert for alert in known}
    raised = [trouble for trouble in found if trouble.key not in before]
    grown, same = [], []
    for trouble in found:
        if (alert := before.get(trouble.key)) is None:
            continue
        if has_grown(trouble.size, before=alert.size):
            grown.append((trouble, alert.size))
        else:
            same.append(trouble)
    now = {trouble.key for trouble in found}
    return Changes(raised, grown, same, [alert for alert in known if alert.key not in now], silent)


def _write(connection: Connection, changes: Changes, quiet: float) -> list[dict[str, Any]]:
    """Write the changes; return those that this process has won, as they are told."""
    told = []
    for trouble in changes.raised:
        values = {"key": trouble.key, "kind": trouble.kind, "sentence": trouble.sentence}
        if ledger.put(connection, {**values, "path": trouble.path, "size": trouble.size}):
            told.append(_told("raised", trouble))
    for trouble, size in changes.grown:
        sentence = trouble.sentence
        if ledger.grow(connection, trouble.key, size=trouble.size, from_size=size, sentence=sentence):
            told.append(_told("grown", trouble))
    ledger.still(connection, {trouble.key for trouble in changes.same})
    for one in changes.muted:
        ledger.end(connection, one.key, unseen=0.0)
    told += [_told("over", one) for one in changes.gone if ledger.end(connection, one.key, unseen=quiet)]
    return told


def _told(state: str, what: Trouble | Alert) -> dict[str, Any]:
    named = {"key": what.key, "kind": what.kind, "sentence": what.sentence}
    return {"state": state, **named, "path": what.path}


def prepared(app: Celeriac, told: Sequence[Mapping[str, Any]]) -> list[NewJob]:
    """A job for each channel by which alerts are told, in their order. Nothing in it is secret."""
    root = (app.settings.console_url or "").rstrip("/")
    alerts = [{**one, "url": f"{root}{one['path']}" if root else None} for one in told]
    environment = app.settings.console_environment or app.main or "celeriac"
    message = {"environment": environment, "alerts": alerts}
    return [
        prepare(app, ALERT, [channel, message], {}, {"task_id": new_id()})
        for channel in app.settings.alert_channels
    ]


def _known(connection: Connection) -> list[Alert]:
    return [
        Alert(
            key=row.key,
            kind=row.kind,
            sentence=row.sentence,
            path=row.path,
            since=row.since,
            seen=row.seen,
            size=row.size,
        )
        for row in ledger.listing(connection)
    ]
