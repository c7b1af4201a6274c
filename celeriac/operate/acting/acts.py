"""The actions on jobs: which jobs each may meet, and what it does with a batch of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection

from celeriac.errors import BadArgument
from celeriac.ledger.operators import waiting_jobs
from celeriac.ledger.reads import job_rows
from celeriac.ledger.reads.job_filter import Filter
from celeriac.ledger.schema.lifecycle import WAITING, JobState
from celeriac.ledger.writes import cancel as cancelling
from celeriac.ledger.writes import dead_letters
from celeriac.ledger.writes.cancel import Answer, Mode
from celeriac.ledger.writes.replay import replay_free
from celeriac.operate.acting.moving import move
from celeriac.operate.acting.selection import Find
from celeriac.operate.actions import Actor, record
from celeriac.operate.dead_letters import replay_all

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_CANCELLED = frozenset({Answer.CANCELLED, Answer.REQUESTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some jobs, and how they are to be met.

    Attributes:
        wanted: they must still fit it, where a filter chose them.
        options: of the action: queue and priority of a move.
        by: who does it; None: it is on record elsewhere.
    """

    app: Celeriac
    ids: Sequence[UUID]
    wanted: Filter | None
    options: Mapping[str, Any]
    by: Actor | None = None


#: Does an action with a batch, in the transaction of the connection; returns how many jobs it met.
Do = Callable[[Connection, Batch], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An action on jobs.

    Attributes:
        words: for people.
        states: of jobs that it may meet; None: all that have not ended.
    """

    words: str
    find: Find
    do: Do
    states: frozenset[JobState] | None


def _cancel(mode: Mode) -> Do:
    def do(connection: Connection, batch: Batch) -> int:
        if batch.wanted is not None:  # a job may have changed since it was found
            return cancelling.cancel_fitting(connection, batch.ids, batch.wanted, mode=mode)
        answers = cancelling.cancel(connection, batch.ids, mode=mode).values()
        return sum(answer in _CANCELLED for answer in answers)

    return do


def _replay(connection: Connection, batch: Batch) -> int:
    """What is not replayed, since another job has its unique key, is on record by itself."""
    if batch.by is None:
        return replay_all(batch.ids, connection)
    found = replay_free(connection, batch.ids, dead_only=True)
    for job, why in found.kept_back.items():
        record(
            "not replayed",
            who=batch.by.who,
            via=batch.by.via,
            subject=str(job),
            job_id=job,
            reason=why.sentence,
            done=0,
            connection=connection,
        )
    return len(found.jobs)


def _discard(connection: Connection, batch: Batch) -> int:
    return dead_letters.discard(connection, batch.ids)


def _run_now(connection: Connection, batch: Batch) -> int:
    return len(waiting_jobs.run_now(connection, batch.ids))


def _move(connection: Connection, batch: Batch) -> int:
    return len(move(batch.app, connection, batch.ids, **batch.options))


_DEAD = frozenset({JobState.FAILED})

#: The actions by their names, which are on record.
ACTS: Mapping[str, Act] = {
    "cancel": Act(words="cancel for ever", find=job_rows.unfinished, do=_cancel(Mode.SOFT), states=None),
    "cancel-hard": Act(
        words="cancel and terminate", find=job_rows.unfinished, do=_cancel(Mode.HARD), states=None
    ),
    "replay": Act(words="replay", find=job_rows.dead, do=_replay, states=_DEAD),
    "discard": Act(words="discard", find=job_rows.dead, do=_discard, states=_DEAD),
    "run-now": Act(words="run now", find=waiting_jobs.waiting, do=_run_now, states=WAITING),
    "move": Act(words="move", find=waiting_jobs.waiting, do=_move, states=WAITING),
}


def act_of(name: str) -> Act:
    """The action of that name.

    Raises:
        BadArgument: there is none.
    """
    if name not in ACTS:
        raise BadArgument("action", f"wanted one of {', '.join(ACTS)}, found {name[:80]!r}")
    return ACTS[name]
