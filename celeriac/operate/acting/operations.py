"""Actions on many jobs: begin one, read one, stop one. ``runner.py`` carries them out.

The row is the truth: it says which jobs, how, and how far it is, so that any process can go on with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.application import current_app
from celeriac.display import safe
from celeriac.errors import BadArgument
from celeriac.ids import new_uuid, optional_id, parse_id
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.operators import actions as action_rows
from celeriac.ledger.operators import operations as ledger
from celeriac.ledger.reads import job_pages
from celeriac.ledger.schema.lifecycle import UNFINISHED, JobState
from celeriac.names import NAME_LENGTH
from celeriac.operate import dead_letters, job
from celeriac.operate.acting.acts import Act, act_of
from celeriac.operate.acting.canary import FIRST, Watch
from celeriac.operate.acting.selection import Selection
from celeriac.operate.actions import Action, Actor, checked_reason, of_row

if TYPE_CHECKING:
    from sqlalchemy import Row

    from celeriac.application import Celeriac

_MOST = 10_000_000  # jobs that are counted
_SUBJECT = 2_000  # characters
_LOOKED_AT = 200  # actions on many jobs, for one
_DEAD = frozenset({JobState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An action on many jobs before it begins.

    Attributes:
        selection: settled: what is accepted or fails later is not meant.
        words: of the filter, as the address of a page has them; empty for a selection by ids or causes.
        rate: jobs a second, at most; None: as fast as it goes.
        options: queue and priority of a move.
        canary: whether it is a canary replay.
    """

    action: str
    selection: Selection
    subject: str
    words: Mapping[str, str] = field(default_factory=dict)
    rate: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    canary: bool = False

    def parameters(self) -> dict[str, Any]:
        """What the row keeps of it."""
        watch = Watch(first=FIRST).plain() if self.canary else None
        more = {"words": dict(self.words), "rate": self.rate, "options": dict(self.options), "canary": watch}
        return self.selection.plain() | {name: value for name, value in more.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An action on many jobs that has begun."""

    action: Action
    act: Act
    selection: Selection
    position: str | None
    words: Mapping[str, str]
    rate: float | None
    options: Mapping[str, Any]
    canary: Watch | None

    @property
    def speed(self) -> float:
        """Jobs a second, so far."""
        ended = self.action.ended or datetime.now(UTC)
        seconds = (ended - self.action.began).total_seconds()
        return self.action.done / seconds if seconds > 0 else 0.0

    @property
    def success(self) -> float | None:
        """Of a canary, the share of jobs that succeeded, of those that have ended; None: none has."""
        ended = self.canary.succeeded + self.canary.failed if self.canary else 0
        return self.canary.succeeded / ended if self.canary and ended else None


def settled(selection: Selection, *, app: Celeriac | None = None) -> Selection:
    """``selection`` without what is accepted, or fails, from now on."""
    if selection.wanted is not None:
        return Selection(wanted=job.as_of_now(selection.wanted, app=app))
    if selection.causes is not None and selection.until is None:
        with current_app(app).database.reading() as connection:
            return Selection(causes=selection.causes, until=clock(connection))
    return selection


def count(action: str, selection: Selection, *, app: Celeriac | None = None) -> int:
    """How many jobs the action would meet now."""
    act, platform = act_of(action), current_app(app)
    if selection.ids is not None:
        return len(selection.ids)
    if selection.causes is not None:
        return sum(dead_letters.replay(cause, dry_run=True, app=platform) for cause in selection.causes)
    wanted = selection.wanted
    assert wanted is not None
    if act.states is not None and wanted.state is not None and wanted.state not in act.states:
        return 0
    with platform.database.reading() as connection:
        return job_pages.count(connection, wanted, most=_MOST, states=act.states or UNFINISHED)


def begin(
    plan: Plan,
    *,
    by: Actor,
    counted: int,
    reason: str | None = None,
    runner: UUID | None = None,
    app: Celeriac | None = None,
) -> str:
    """Write that it is to be done; return its id. A console's runner takes it.

    Args:
        counted: jobs that it will meet.
        runner: who carries it out; None: whoever finds it.

    Raises:
        BadArgument: there is no such action; only a replay may be a canary; the reason is too long.
    """
    act_of(plan.action)
    if plan.canary and plan.action != "replay":
        raise BadArgument("canary", "only a replay may begin with a few jobs")
    values = {
        "id": new_uuid(),
        "who": safe(by.who)[:NAME_LENGTH] or "unknown",
        "via": str(by.via),
        "action": plan.action,
        "subject": safe(plan.subject, length=_SUBJECT),
        "parameters": plan.parameters(),
        "reason": checked_reason(reason),
        "counted": counted,
        "runner": runner,
    }
    current_app(app).database.again(lambda connection: ledger.begin(connection, values))
    return str(values["id"])


def find(id: str, *, app: Celeriac | None = None) -> Operation | None:
    """The action on many jobs of that id; None when there is none."""
    wanted = optional_id(id)
    if wanted is None:
        return None
    with current_app(app).database.reading() as connection:
        row = action_rows.find(connection, wanted)
    return None if row is None or row.parameters is None else operation_of(row)


def that_met(found: job.Job, *, app: Celeriac | None = None) -> list[Action]:
    """Actions on many jobs that meant this one and had come to it, the newest first.

    A replay and a discard meet dead letters alone: of a job that never failed, none is told.
    """
    with current_app(app).database.reading() as connection:
        rows = action_rows.on_many(connection, since=found.queued, limit=_LOOKED_AT)
    met = []
    for one in map(operation_of, rows):
        failed = found.state is JobState.FAILED or bool(found.attempts)
        if (one.act.states != _DEAD or failed) and one.selection.meant(
            found, position=one.position, whole=one.action.state == "done"
        ):
            met.append(one.action)
    return met


def stop(id: str, *, by: Actor, app: Celeriac | None = None) -> bool:
    """Have it stopped after the batch that it is at; False: it has ended, or is being stopped."""
    wanted = parse_id(id, name="id")
    return current_app(app).database.again(lambda connection: ledger.stop(connection, wanted, who=by.who))


def operation_of(row: Row[Any]) -> Operation:
    values = row.parameters
    watch = values.get("canary")
    return Operation(
        action=of_row(row),
        act=act_of(row.action),
        selection=Selection.of(values),
        position=row.position,
        words=values.get("words", {}),
        rate=values.get("rate"),
        options=values.get("options", {}),
        canary=None if watch is None else Watch.of(watch),
    )
