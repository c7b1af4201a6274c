"""Workflows: run or fail parked jobs when the jobs they wait for have ended without releasing them.

The database counts the members of a chord and joins their results: there may be a million.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from uuid import UUID

from kombu.utils.json import loads

from celeriac.broker import signing
from celeriac.broker.body import compressed_as, uncompressed
from celeriac.errors import NotSigned
from celeriac.events import Event
from celeriac.headers import CHORD
from celeriac.ids import row_id
from celeriac.ledger.connection.database import UNREACHABLE, Database
from celeriac.ledger.upkeep import parked
from celeriac.ledger.upkeep.parked import Body, Members, Parked

logger = logging.getLogger(__name__)

#: Seconds to wait after all awaited jobs have ended. A child counts its member in Redis, and sends what
#: follows, before its outcome is recorded. So the parked job is released by then, or never.
_GRACE = 2.0
_OLD = 3600.0  # seconds after which nobody is still enqueuing the members of a chord

_PAGE = 200  # parked rows of one query
_SPAN = 0.3  # seconds of reading, and as many of deciding, in one sweep
_LATER = 60.0  # seconds until a row that cannot be decided yet is read again
_MOST = 1_000  # rows that wait for their grace at the same time

#: Characters of all results together that a message may be made of; Redis takes 512 MiB.
_LARGEST = 256 * 1024 * 1024


class Verdict(Enum):
    """What becomes of a chord's body whose members have ended."""

    RUN = auto()
    WAIT = auto()
    BROKEN = auto()  # a member failed or was cancelled
    INCOMPLETE = auto()  # members were never enqueued
    LOST = auto()  # a result is not known
    LARGE = auto()  # no message can hold the results


@dataclass(frozen=True, slots=True)
class Awaited:
    """What a parked row waits for: the ``size`` members of a group, or the other jobs of its workflow."""

    row: UUID
    of: UUID
    old: bool
    size: int | None = None
    immutable: bool = False


class Workflows:
    """Reads all parked rows, one page after the other, and decides about each.

    Args:
        grace: seconds; see ``_GRACE``.
    """

    def __init__(self, database: Database, *, on_change: Callable[[], None], grace: float = _GRACE) -> None:
        self._database = database
        self._on_change = on_change
        self._grace = grace
        self._beyond = parked.FIRST  # the last row that was read
        self._ripe: dict[UUID, tuple[Awaited, float]] = {}  # whose awaited jobs have ended, and since when
        self._later: dict[UUID, float] = {}  # when to read rows again that could not be decided

    def sweep(self) -> None:
        """Read the next pages of parked rows, then decide about those whose grace has passed."""
        end = time.monotonic() + _SPAN
        while len(self._ripe) < _MOST and self._look() and time.monotonic() < end:
            pass
        end = time.monotonic() + _SPAN
        ripe = [awaited for awaited, since in self._ripe.values() if since + self._grace <= time.monotonic()]
        for awaited in ripe:
            if time.monotonic() >= end:
                return
            self._decide(awaited)

    def _look(self) -> bool:
        """Read the next page; False when it was the last one."""
        with self._database.reading() as connection:
            page = parked.parked(connection, beyond=self._beyond, limit=_PAGE, old=_OLD)
            now = time.monotonic()
            due = [row for row in page if self._later.get(row.id, now) <= now]
            wanted = [each for row in due if (each := _awaited(row))]
            waiting = self._waiting(connection, wanted)
        for each in wanted:
            if each.row in waiting:
                self._ripe.pop(each.row, None)
            else:
                since = self._ripe[each.row][1] if each.row in self._ripe else now
                self._ripe[each.row] = each, since
        full = len(page) == _PAGE
        self._beyond = page[-1].id if full else parked.FIRST
        if not full:
            self._later = {row: at for row, at in self._later.items() if at > now}
        return full

    def _waiting(self, connection: Any, rows: Sequence[Awaited]) -> set[UUID]:
        """Those of ``rows`` whose awaited jobs have not all ended."""
        groups = [(each.row, each.of) for each in rows if each.size is not None]
        roots = [(each.row, each.of) for each in rows if each.size is None]
        return parked.with_open_members(connection, groups) | parked.with_open_jobs(connection, roots)

    def _decide(self, awaited: Awaited) -> None:
        del self._ripe[awaited.row]
        self._later[awaited.row] = time.monotonic() + _LATER  # also if the decision fails
        try:
            done = self._act(awaited)
        except UNREACHABLE:
            del self._later[awaited.row]
            raise
        except Exception:  # one parked job must not hold up the others
            logger.exception(Event.DUTY_FAILED, {"duty": f"workflow of {awaited.row}"})
            return
        if done:
            del self._later[awaited.row]

    def _act(self, awaited: Awaited) -> bool:
        """Run or fail the parked job; False when it must go on waiting."""
        with self._database.reading() as connection:
            body = parked.body(connection, awaited.row)
            if body is None or self._waiting(connection, [awaited]):
                return True  # released, or new jobs to wait for: a later sweep decides
            verdict, reason = self._verdict(connection, awaited)
        if verdict is Verdict.WAIT:
            return False
        try:
            done = reason is None and self._fire(awaited, body)
        except NotSigned as exc:
            reason = str(exc)
        except UNREACHABLE:
            raise
        except Exception as exc:  # a message that cannot be read fails its own job only
            kind = body.content_type[:80]
            reason = f"its message, {kind}, cannot be given results: {type(exc).__name__}"
        if reason is not None:
            with self._database.transaction() as connection:
                done = bool(parked.fail_parked(connection, [awaited.row], reason=reason))
        if done:
            became = "failed" if reason else "sent"
            logger.warning(Event.WORKFLOW_MENDED, {"job": awaited.row, "became": became})
            self._on_change()
        return True

    def _verdict(self, connection: Any, awaited: Awaited) -> tuple[Verdict, str | None]:
        if awaited.size is None:
            return Verdict.BROKEN, "what replaced it ended without sending it again"
        group, row = awaited.of, awaited.row
        found = parked.members(connection, group, but=row)
        verdict = decide(found, size=awaited.size, old=awaited.old, immutable=awaited.immutable)
        if verdict is Verdict.BROKEN:
            broken = parked.not_completed(connection, group, but=row)
            return verdict, f"dependency {broken[0]} is {broken[1]}" if broken else "a dependency is not done"
        if verdict is Verdict.LOST:
            lost = parked.without_result(connection, group, but=row)
            return verdict, f"the result of dependency {lost} is lost"
        if verdict is Verdict.INCOMPLETE:
            return verdict, f"{found.count} of {awaited.size} dependencies were enqueued"
        if verdict is Verdict.LARGE:
            return verdict, f"the results of its dependencies are {found.characters:,} characters together"
        return verdict, None

    def _fire(self, awaited: Awaited, body: Body) -> bool:
        """Let it run with the list of results as its first argument, as Celery passes them."""
        if awaited.immutable:
            _verified(body)
            with self._database.transaction() as connection:
                return parked.fire(connection, body.id, payload=body.payload, headers=body.headers)
        of, row = awaited.of, body.id
        if body.content_type == signing.CONTENT_TYPE or body.headers.get("compression"):
            with self._database.reading() as connection:
                payload = with_results(body, parked.results(connection, of, but=row))
            with self._database.transaction() as connection:
                return parked.fire(connection, row, payload=payload, headers=body.headers)
        before, behind = around(_parts(body))
        with self._database.transaction() as connection:
            return parked.fire_with_results(
                connection, row, headers=body.headers, group=of, before=before, behind=behind
            )


def _awaited(row: Parked) -> Awaited | None:
    """What a row waits for; None when its headers do not say so."""
    chord: Any = row.headers.get(CHORD)
    try:
        group = row_id(chord["group"])
        if group is not None:
            return Awaited(row.id, group, row.old, int(chord["size"]), bool(chord.get("immutable")))
    except (TypeError, KeyError, ValueError):  # no chord's header, or not written by us
        pass
    return Awaited(row.id, row.root_id, row.old) if row.root_id is not None else None


def decide(members: Members, *, size: int, old: bool, immutable: bool = False) -> Verdict:
    """What becomes of a chord's body whose ``members`` have all ended.

    Args:
        size: how many it waits for; jobs that a member added to the group count in addition.
        old: whether no producer can still be enqueuing members.
        immutable: whether the body takes no results; then none can be missing.
    """
    if members.completed < members.count:
        return Verdict.BROKEN
    if members.count < size:
        return Verdict.INCOMPLETE if old else Verdict.WAIT
    if immutable:
        return Verdict.RUN
    if members.with_result < members.count:
        return Verdict.LOST
    return Verdict.LARGE if members.characters > _LARGEST else Verdict.RUN


def around(body: Sequence[Any]) -> tuple[str, str]:
    """A message's body as JSON in two texts; a list's items between them become its first argument.

    >>> around([["own"], {}, {}])
    ('[[[', '], "own"], {}, {}]')
    >>> around([[], {}, {}])
    ('[[[', ']], {}, {}]')
    """
    text = json.dumps(list(body))  # [[…], {…}, {…}]
    return "[[[", ("], " if body[0] else "]") + text[2:]


def with_results(body: Body, results: str) -> bytes:
    """The body's message with ``results``, as they stand in a JSON list, signed and compressed as it was.

    Raises:
        NotSigned: its own signature does not hold.
    """
    before, behind = around(_parts(body))
    text = before + results + behind
    signed = body.content_type == signing.CONTENT_TYPE
    return compressed_as(body, signing.sign(json.loads(text)) if signed else text.encode("utf-8"))


def _parts(body: Body) -> list[Any]:
    args, kwargs, options = loads(signing.text(_verified(body), body.content_type), object_hook=dict)
    return [args, kwargs, options]


def _verified(body: Body) -> bytes:
    """The uncompressed payload; raises NotSigned if it is signed and the signature does not hold."""
    plain = uncompressed(body)
    if body.content_type == signing.CONTENT_TYPE:
        signing.check(plain, body.content_type, body.headers)
    return plain
