"""Conditions on a job's state, for statements. The guard of every write is made here, from the lifecycle.

No other module compares the column with a state: a test holds that.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, literal_column, or_

from celeriac.ledger.schema.columns import unindexed
from celeriac.ledger.schema.lifecycle import TERMINAL, WAITING, JobState, sources
from celeriac.ledger.schema.models import JOBS

_ANY = frozenset(JobState)


def may_enter(
    *targets: JobState, of: Collection[JobState] = _ANY, by_id: bool = False
) -> ColumnElement[bool]:
    """Whether the lifecycle lets a row into each of ``targets``: the guard of a write that may lead there.

    Args:
        of: only rows that are in one of these states now.
        by_id: see ``is_in``.

    Raises:
        ValueError: the lifecycle has no such move.
    """
    allowed = sources(*targets) & frozenset(of)
    if not allowed:
        raise ValueError(f"no state leads to all of {sorted(targets)}, of {sorted(of)}")
    return is_in(*allowed, by_id=by_id)


def is_in(*states: Any, by_id: bool = False, c: Any = JOBS.c) -> ColumnElement[bool]:
    """Whether a row is in one of ``states``.

    Args:
        states: members of JobState; or one parameter.
        by_id: the statement names its rows by their ids. The condition is then written so that no index on
            the state fits it, and with a fixed number of parameters. With old statistics PostgreSQL would
            rather read a whole index of what waits than search a few ids.
        c: the columns of the jobs, where the table has an alias.
    """
    if by_id:
        return or_(*(unindexed(c.state) == state for state in sorted(states)))
    if len(states) == 1:
        found: ColumnElement[bool] = c.state == states[0]
        return found
    listed: ColumnElement[bool] = c.state.in_(sorted(states))
    return listed


def is_waiting(*, by_id: bool = False) -> ColumnElement[bool]:
    """Whether a row waits to be claimed."""
    return is_in(*WAITING, by_id=by_id)


def is_waiting_as_indexed(c: Any = JOBS.c) -> ColumnElement[bool]:
    """The same, spelled as the partial indexes spell it: SQLite only uses one whose words it meets again."""
    listed: ColumnElement[bool] = c.state.in_([literal_column(f"'{state}'") for state in sorted(WAITING)])
    return listed


def is_dead_as_indexed(c: Any = JOBS.c) -> ColumnElement[bool]:
    """Whether a row is a dead letter, spelled as the partial index of dead letters spells it."""
    found: ColumnElement[bool] = c.state == literal_column(f"'{JobState.FAILED}'")
    return found


def is_unfinished() -> ColumnElement[bool]:
    """Whether a row is in no terminal state."""
    return JOBS.c.state.not_in(sorted(TERMINAL))
