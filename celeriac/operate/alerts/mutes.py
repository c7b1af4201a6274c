"""Mute a group of dead letters: it is shown apart and told nobody, until a time, or until it changes.

What changes is a group that has doubled, and has ten more. So a known failure is quiet, and an outage is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from celeriac.application import current_app
from celeriac.errors import BadArgument, GroupNotFound
from celeriac.ledger.operators import mutes as ledger
from celeriac.ledger.operators.mutes import Mute
from celeriac.names import NAME_LENGTH
from celeriac.operate import actions, dead_letters
from celeriac.operate.actions import Actor
from celeriac.operate.dead_letters import Cause, Group

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from celeriac.application import Celeriac

__all__ = ["Mute", "has_grown", "in_force", "mute", "muted", "unmute"]

#: A group of failures has changed when it has grown by this factor, and by so many.
FACTOR, LEAST = 2, 10

LONGEST = timedelta(days=365)
_ALL = 100_000  # groups


def has_grown(size: int, *, before: int) -> bool:
    """Whether a group of dead letters has changed since it had ``before``.

    >>> has_grown(11, before=1), has_grown(19, before=10)
    (True, False)
    """
    return size >= max(before * FACTOR, before + LEAST)


def mute(
    key: str,
    *,
    lasts: timedelta | None,
    actor: Actor,
    reason: str | None = None,
    app: Celeriac | None = None,
) -> Mute:
    """Mute the group of this key; one that is muted already is muted anew.

    Args:
        lasts: None: until it changes, or is unmuted.

    Raises:
        GroupNotFound: no dead letter has this cause.
        BadArgument: it would last too long, or the reason is too long.
    """
    if lasts is not None and not timedelta(minutes=1) <= lasts <= LONGEST:
        raise BadArgument("for", f"wanted one minute to {LONGEST.days} days")
    platform, said = current_app(app), actions.checked_reason(reason)
    groups = dead_letters.groups(limit=_ALL, app=platform)
    group = next((each for each in groups if Cause.of(each).key == key.lower()), None)
    if group is None:
        raise GroupNotFound(key)

    def write(connection: Connection) -> Mute:
        seconds = None if lasts is None else lasts.total_seconds()
        known = Cause.of(group).key
        ledger.put(
            connection, known, lasts=seconds, who=actor.who[:NAME_LENGTH], reason=said, size=group.count
        )
        made = next(each for each in ledger.rows(connection) if each.key == known)
        _record(connection, "mute", made.key, actor, said)
        return made

    return platform.database.again(write)


def unmute(key: str, *, actor: Actor, reason: str | None = None, app: Celeriac | None = None) -> bool:
    """Show and tell the group of this key again; False: it is not muted."""
    said = actions.checked_reason(reason)

    def write(connection: Connection) -> bool:
        ended = ledger.remove(connection, key.lower())
        if ended:
            _record(connection, "unmute", key.lower(), actor, said)
        return ended

    return current_app(app).database.again(write)


def muted(*, app: Celeriac | None = None) -> list[Mute]:
    """The mutes whose time has not ended, the newest first; of some the group may have changed."""
    with current_app(app).database.reading() as connection:
        return ledger.rows(connection)


def in_force(mutes: Sequence[Mute], groups: Sequence[Group]) -> Mapping[str, Mute]:
    """The mutes of these groups by their keys, but for those of groups that have changed."""
    known = {each.key: each for each in mutes}
    found = ((known.get(Cause.of(group).key), group) for group in groups)
    return {
        each.key: each
        for each, group in found
        if each is not None and not has_grown(group.count, before=each.size)
    }


def _record(connection: Connection, action: str, key: str, actor: Actor, reason: str | None) -> None:
    actions.record(
        action,
        who=actor.who,
        via=actor.via,
        subject=f"group {key}",
        reason=reason,
        done=0,
        connection=connection,
    )
