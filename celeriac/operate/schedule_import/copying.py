"""Copy entries, see what copying would do, and take it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from celeriac.errors import InvalidSchedule
from celeriac.ledger.writes import schedule_rows as ledger
from celeriac.operate.schedule_import.old_entry import OldEntry, OldSchedules
from celeriac.schedules.definition import Schedule, of_row
from celeriac.schedules.registry import put
from celeriac.schedules.times import Kind
from celeriac.schedules.validation import validated

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Columns that are state, or follow from it; all others of ``DEFINED`` must agree.
_STATE = frozenset({"enabled", "anchor", "next_run", "static"})


class Verdict(StrEnum):
    COPIED = "copied"
    KNOWN = "known"  # it was copied before
    REFUSED = "refused"  # it stays there as it is
    TAKEN_BACK = "taken back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What becomes of one entry. ``schedule`` is ours, as it is then; None: there is none."""

    name: str
    task: str
    verdict: Verdict
    reason: str | None = None
    schedule: Schedule | None = None


class _Enough(Exception):
    """Ends a transaction, so that it is rolled back."""


def plan(app: Celeriac, old: OldSchedules) -> list[Line]:
    """What ``apply`` would do. It is done, in a transaction that is rolled back."""
    entries = old.read()
    lines: list[Line] = []
    with suppress(_Enough), app.database.transaction() as connection:
        lines += [_copied(app, connection, entry) for entry in entries]
        raise _Enough
    return lines


def apply(app: Celeriac, old: OldSchedules) -> list[Line]:
    """Copy the entries, then disable them there. It can be repeated: what is known keeps our state."""
    entries = old.read()
    with app.database.transaction() as connection:
        lines = [_copied(app, connection, entry) for entry in entries]
    for entry, line in zip(entries, lines, strict=True):
        if line.verdict is not Verdict.REFUSED and entry.enabled:
            old.switch(replace(entry, enabled=False))
    return lines


def undo(app: Celeriac, old: OldSchedules) -> list[Line]:
    """Remove the copies, then give the entries there the state that the copies have now."""
    entries = {entry.name: entry for entry in old.read()}
    with app.database.transaction() as connection:
        lines = [line for entry in entries.values() for line in _removed(app, connection, entry)]
    for line in lines:
        if line.schedule is not None:
            old.switch(_with_state_of(line.schedule, entries[line.name]))
    return lines


def _copied(app: Celeriac, connection: Connection, entry: OldEntry) -> Line:
    wanted = entry.wanted
    if wanted is None:
        return Line(name=entry.name, task=entry.task, verdict=Verdict.REFUSED, reason=entry.problem)
    try:
        row = ledger.find(connection, entry.name, lock=True)
        known = row is not None and _is_copy(app, connection, entry, row)
        if row is not None and row.retired is None and not known:
            reason = "a schedule of that name is here, and differs"
            return Line(name=entry.name, task=entry.task, verdict=Verdict.REFUSED, reason=reason)
        if not known:
            put(app, connection, replace(wanted, enabled=entry.enabled))
        if not known or (row is not None and row.static and row.last_run is None):
            _carry_over(connection, entry)
    except InvalidSchedule as exc:
        reason = "; ".join(map(str, exc.problems))
        return Line(name=entry.name, task=entry.task, verdict=Verdict.REFUSED, reason=reason)
    return Line(
        name=entry.name,
        task=entry.task,
        verdict=Verdict.KNOWN if known else Verdict.COPIED,
        schedule=of_row(ledger.find(connection, entry.name)),
    )


def _carry_over(connection: Connection, entry: OldEntry) -> None:
    """Give a copy the history of the entry: its due times go on where that one's would have."""
    if entry.last_run is None and not entry.run_count:
        return
    found = of_row(ledger.find(connection, entry.name))
    timing, next_run = found.timing, found.next_run
    if entry.last_run is not None:
        if timing.kind is Kind.INTERVAL and found.starts is None:
            # An interval begins at its last fire, as it does there.
            timing = replace(timing, anchor=entry.last_run + timedelta(seconds=float(timing.expression)))
        next_run = timing.after(entry.last_run) if found.enabled else None
    ledger.carry_over(
        connection,
        entry.name,
        anchor=timing.anchor,
        last_run=entry.last_run,
        next_run=next_run,
        run_count=entry.run_count,
    )


def _removed(app: Celeriac, connection: Connection, entry: OldEntry) -> Iterator[Line]:
    row = ledger.find(connection, entry.name, lock=True)
    if row is None or entry.wanted is None:
        return
    if not _is_copy(app, connection, entry, row):
        reason = "it differs from the entry there: remove one of them by hand"
        yield Line(name=entry.name, task=entry.task, verdict=Verdict.REFUSED, reason=reason)
        return
    found = of_row(row)
    ledger.remove(connection, entry.name)
    yield Line(name=entry.name, task=entry.task, verdict=Verdict.TAKEN_BACK, schedule=found)


def _with_state_of(copy: Schedule, entry: OldEntry) -> OldEntry:
    return replace(
        entry,
        enabled=copy.enabled and copy.next_run is not None,  # one moment that has passed is over
        last_run=_latest(copy.last_run, entry.last_run),
        run_count=max(copy.run_count, entry.run_count),
    )


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(filter(None, (one, other)), default=None)


def _is_copy(app: Celeriac, connection: Connection, entry: OldEntry, row: Any) -> bool:
    """Whether ``row`` is what copying ``entry`` makes."""
    assert entry.wanted is not None
    wanted = replace(entry.wanted, enabled=row.enabled)
    try:
        made: Mapping[str, Any] = validated(app, wanted, row=row, now=ledger.clock(connection))
    except InvalidSchedule:
        return False
    return all(made[key] == getattr(row, key) for key in ledger.DEFINED if key not in _STATE)
