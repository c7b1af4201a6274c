"""Workflows: parked jobs whose awaited ones have ended without releasing them are fired or failed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence

from kombu.utils.json import loads

from celeriac.broker import signing
from celeriac.broker.body import compressed_as, uncompressed
from celeriac.broker.sending import CHORD
from celeriac.errors import NotSigned
from celeriac.events import Event
from celeriac.ids import optional_id
from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.upkeep import parked
from celeriac.ledger.upkeep.parked import Member, Parked

logger = logging.getLogger(__name__)

#: Seconds since the last awaited job has ended. A child counts its part in Redis, and sends what follows,
#: before its outcome is told: whoever was to release the job has done so by then, or never will.
_GRACE = 2.0
_OLD = 3600.0  # seconds after which nobody is still enqueuing the members of a chord
_MOST = 200


class Workflows:
    def __init__(self, database: Database, *, on_change: Callable[[], None]) -> None:
        self._database = database
        self._on_change = on_change

    def sweep(self) -> None:
        """Decide about every parked row."""
        with self._database.reading() as connection:
            rows = parked.parked(connection, limit=_MOST, old=_OLD)
        for row in rows:
            self._decide(row)

    def _decide(self, row: Parked) -> None:
        chord = row.headers.get(CHORD)
        group = optional_id(chord.get("group")) if chord else None
        if chord is not None and group is not None:
            with self._database.reading() as connection:
                found = parked.members(connection, group, but=row.id, grace=_GRACE)
            size, immutable = int(chord["size"]), bool(chord.get("immutable"))
            self._act(row, *decide_chord(found, size=size, old=row.old, immutable=immutable))
        elif row.root_id is not None:
            with self._database.reading() as connection:
                left = parked.unfinished_of_root(connection, row.root_id, but=row.id, grace=_GRACE)
            if not left:
                self._act(row, None, "what replaced it ended without sending it again")

    def _act(self, row: Parked, results: Sequence[str] | None, reason: str | None) -> None:
        if results is None and reason is None:
            return
        payload = b""
        if reason is None:
            try:
                payload = _with_results(row, results or ())
            except NotSigned as exc:
                reason = str(exc)
            except Exception as exc:  # one that cannot be read must not hold up the others
                reason = (
                    f"its message, {row.content_type[:80]}, cannot be given results: {type(exc).__name__}"
                )
        with self._database.transaction() as connection:
            if reason is not None:
                done = bool(parked.fail_parked(connection, [row.id], reason=reason))
            else:
                done = parked.fire(connection, row.id, payload=payload, headers=row.headers)
        if done:
            became = "failed" if reason else "sent"
            logger.warning(Event.WORKFLOW_MENDED, {"job": row.id, "became": became})
            self._on_change()


def decide_chord(
    members: Sequence[Member], *, size: int, old: bool, immutable: bool = False
) -> tuple[Sequence[str] | None, str | None]:
    """What becomes of a chord's body: run with these results, fail for this reason, or wait on.

    Args:
        immutable: whether the body takes no results; then none can be missing.
    """
    if any(not member.settled for member in members):
        return None, None
    broken = [member for member in members if member.state is not JobState.COMPLETED]
    if broken:
        return None, f"dependency {broken[0].id} is {broken[0].state}"
    if len(members) < size:  # one that was added by a member counts beside them
        return None, f"{len(members)} of {size} dependencies were enqueued" if old else None
    ordered = sorted(members, key=lambda member: member.headers.get("group_index") or 0)
    missing = [member for member in ordered if member.result is None and not immutable]
    if missing:
        return None, f"the result of dependency {missing[0].id} is lost"
    return [member.result or "null" for member in ordered], None


def _with_results(row: Parked, results: Sequence[str]) -> bytes:
    """The body's message with its members' results in front, as Celery passes them."""
    plain = uncompressed(row)
    signed = row.content_type == signing.CONTENT_TYPE
    if signed:
        signing.check(plain, row.content_type, row.headers)
    if row.headers[CHORD].get("immutable"):
        return row.payload
    args, kwargs, options = loads(signing.text(plain, row.content_type), object_hook=dict)
    body = [[[json.loads(result) for result in results], *args], kwargs, options]
    return compressed_as(row, signing.sealed(body) if signed else json.dumps(body).encode("utf-8"))
