"""Admitter: let jobs go whose limits have room. One worker looks for new jobs; each wakes what it frees."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection

from celeriac.broker import sending
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.one_trip import transaction_of_trips
from celeriac.ledger.limits import admission, fair, in_use, limit_rows, lines, taken_back
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.writes.claims import Message
from celeriac.limits.fairness import Windows, queue_of
from celeriac.limits.limit import Limit
from celeriac.limits.order import OrderLimit
from celeriac.limits.permits import is_fair, is_order, limit_of, line_of_names
from celeriac.worker.attempt_report import Freed
from celeriac.worker.breakers import Breakers
from celeriac.worker.freed_permits import FreedPermits

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Seconds between two looks: of the worker that looks for all, and of the others for a change of limits.
EVERY, OTHERS = 0.05, 1.0

#: Who has run jobs of a rate admits others of it for so many seconds, as often as this: the worker that looks
#: for all may be frozen, and a start that nobody has taken is lost.
_PACED, _PACED_EVERY = 3.0, 0.1

#: Seconds between two looks for what nobody has woken, and the jobs or permits of one such look.
_SEARCH, _SEARCHED = 5.0, 200

_LEADS = 2.0  # seconds for which a worker is the one that looks
_LATELY, _OVERLAP = 3.0, 0.5  # seconds: how far a look goes back once a second, and otherwise
_LONGEST = 0.5  # seconds of one run
_DECLARES = 10.0  # seconds between two tries to write what the code says of limits
#: One of so many permits that a limit has is not to wait for others that are given back.
_SHARE = 20


class Admitter:
    """
    Args:
        worker: the id of this start of the worker.
        limits: what its code says.
        database: with plans by key: a count must be a search of an index.
    """

    def __init__(self, app: Celeriac, database: Database, *, worker: UUID, limits: Iterable[Limit]) -> None:
        self._app = app
        self._database = database
        self._worker = worker
        self._to_declare = list(limits)
        self._lock = threading.Lock()
        self._freed = FreedPermits()
        self._rests: dict[str, float] = {}
        self._returned: set[UUID] = set()  # lines into which jobs went back
        self._to_send: list[Message] = []
        self._limits: Mapping[str, KnownLimit] = {}
        self._leads = self._closed = False
        self._fairness = app.settings.fairness
        self._windows = Windows()
        self._fair = self._fairness.is_on
        self._declares_at = self._paced_until = 0.0
        self._read_at = self._searched_at = self._looked_at = -OTHERS
        self._crowded: set[str] = set()
        self.breakers = Breakers()
        self._front = admission.Front()
        self._line: UUID | None = None
        self._permit = ""

    def ended(self, freed: Freed) -> bool:
        """Note what jobs have given back; return whether to look at once. Called by the ledger thread."""
        self.breakers.ended(freed.succeeded, failed=False)
        self.breakers.ended(freed.failed, failed=True)
        with self._lock:
            for permit, seconds in freed.rests.items():
                self._rests[permit] = max(seconds, self._rests.get(permit, 0.0))
            self._returned.update(map(line_of_names, freed.returned))
        return self._freed.add(freed.permits, enough=self._enough) or bool(freed.rests)

    def known_limits(self) -> Mapping[str, KnownLimit]:
        """The limits as they were read last."""
        return self._limits

    def admitted(self, messages: Sequence[Message]) -> None:
        """Send what the ledger thread has admitted, at the next run."""
        with self._lock:
            self._to_send += messages
        if self._closed:
            self._send_admitted()

    def close(self) -> None:
        """No run is to come: send what is left, and have nothing admitted any more."""
        self._closed, self._limits = True, {}
        self._send_admitted()

    def run(self) -> float:
        """Look and admit; return the seconds until the next look."""
        began = time.monotonic()
        self._send_admitted()
        if reads := began - self._read_at >= OTHERS:
            self._read()
        if not self._limits and not self._fair:
            return OTHERS
        freed, soon = self._freed.take(began, enough=self._enough)
        self._rest()
        self._look_at_returned()
        rests = self._app.broker_state.resting_for_duties
        if freed and rests:
            self._wake(freed)
        elif freed:  # first of all: what was given back is not in use meanwhile
            self._admit_woken(freed, until=began + _LONGEST)
        if any(self._is_paced(permit) for permit in freed):
            self._paced_until = began + _PACED
        paced = began < self._paced_until
        looks = self._leads and began - self._looked_at >= EVERY
        if looks:
            self._look(began)
        if (looks or paced or (reads and self._leads)) and not rests:
            self._admit((), until=began + _LONGEST)
        every = EVERY if self._leads else _PACED_EVERY if paced else OTHERS
        return every if soon is None else min(soon, every)

    def _is_paced(self, permit: str) -> bool:
        limit = self._limits.get(limit_of(permit))
        return limit is not None and limit.pace is not None

    def _transaction(self) -> AbstractContextManager[Connection]:
        return self._database.transaction(idle=lines.IDLE)

    def _enough(self, permit: str) -> int:
        """How many of a permit, given back, are not to wait for others.

        A twentieth of the limit: of few permits each is given on at once, or it would not be used meanwhile.
        """
        limit = self._limits.get(limit_of(permit))
        if limit is None or limit.holds is None:  # a fair queue, or a rate
            return admission.MOST_JOBS
        return max(1, limit.holds // _SHARE)

    def _read(self) -> None:
        """Read the limits, and be the one that looks if nobody else is."""
        with self._transaction() as connection:
            self._declare(connection)
            self._limits = limit_rows.read(connection)
            self._fair = self._fairness.is_on or fair.anything_waits(connection)
            if self._fair:
                silence = self._app.settings.worker_timeout
                self._windows.children = fair.children(connection, within=silence)
            before, self._leads = self._leads, self._lead(connection)
            self.breakers.write(connection, self._limits)
            self._limits = self.breakers.judge(connection, self._limits, leads=self._leads)
            if self._leads:
                lines.arrived(connection, lately=_LATELY)
        self._read_at = time.monotonic()
        if self._leads and not before:
            self._searched_at = -_SEARCH  # whoever looked before may have missed something

    def _lead(self, connection: Connection) -> bool:
        """Whether this worker is the one that looks for all."""
        if self._fair and not self._limits:
            limit_rows.declare_fairness(connection)
        wanted = self._fair or bool(self._limits)
        return wanted and limit_rows.lead(connection, self._worker, within=_LEADS)

    def _declare(self, connection: Connection) -> None:
        """Write what the code says; jobs may wait for a limit that no worker has known.

        Once; with versions of the code again and again, until no newer one lives that says otherwise.
        """
        version = self._app.settings.code_version
        limits = [limit for limit in self._to_declare if not self._is_known(limit)]
        if not limits or time.monotonic() < self._declares_at:
            return
        self._declares_at = time.monotonic() + (_DECLARES if version else float("inf"))
        limit_rows.declare(connection, limits, version=version)
        for limit in limits:
            lines.wake_all(connection, limit.name)

    def _is_known(self, limit: Limit) -> bool:
        """Whether the ledger says the same of a limit as this worker's code."""
        found = self._limits.get(limit.name)
        on_failure = limit.on_failure if isinstance(limit, OrderLimit) else None
        wanted = limit.concurrency, limit.rate, limit.burst, on_failure, limit.breaker
        return found is not None and wanted == (
            found.concurrency,
            found.rate,
            found.burst,
            found.on_failure,
            found.breaker,
        )

    def _send_admitted(self) -> None:
        with self._lock:
            messages, self._to_send = self._to_send, []
        if messages:
            sending.send(self._app, messages, database=self._database)

    def _rest(self) -> None:
        with self._lock:
            rests, self._rests = self._rests, {}
        if rests:
            with self._transaction() as connection:
                for permit, seconds in sorted(rests.items()):
                    lines.rest(connection, [permit], seconds=seconds)

    def _look_at_returned(self) -> None:
        """Have lines looked at when the jobs are due that went back into them: nobody else knows of these."""
        with self._lock:
            returned, self._returned = self._returned, set()
        if returned:
            with self._transaction() as connection:
                lines.look_at(connection, returned)

    def _wake(self, permits: Iterable[str]) -> None:
        with self._transaction() as connection:
            lines.wake(connection, dict.fromkeys(permits, admission.MOST_WOKEN))

    def _look(self, now: float) -> None:
        """Find the lines of new jobs; now and then those that nobody has woken."""
        self._looked_at = now
        with self._transaction() as connection:
            lines.arrived(connection, lately=_OVERLAP)
        if now - self._searched_at >= _SEARCH or self._line is not None or self._permit:
            self._find_forgotten()
            self._searched_at = now

    def _find_forgotten(self) -> None:
        with self._transaction() as connection:
            self._line = lines.find_forgotten(connection, beyond=self._line, most=_SEARCHED)
            permits = lines.blocked_permits(connection, beyond=self._permit, most=_SEARCHED)
            used = in_use.count(connection, permits)
            full = [name for name in permits if not is_order(name) and not self._has_room(name, used)]
            crowded, self._crowded = self._crowded, set()
            full += sorted(crowded.difference(full))
            taken = self._take_back(connection, full)
        self._permit = permits[-1] if len(permits) >= _SEARCHED else ""
        if free := [permit for permit in permits if self._has_room(permit, used)]:
            self._wake(free)
        if taken:
            self._wake(taken)

    def _take_back(self, connection: Connection, full: Sequence[str]) -> list[str]:
        """Take permits that others wait for back from jobs that do not arrive."""
        if not full:
            return []
        drawn = fair.queues_drawn(connection, within=self._app.settings.worker_timeout)
        return taken_back.take_back(connection, full, drawn=drawn)

    def _has_room(self, permit: str, used: Mapping[str, int]) -> bool:
        if is_fair(permit):
            return used.get(permit, 0) < self._windows.size(queue_of(permit))
        limit = self._limits.get(limit_of(permit))
        if limit is None or limit.paused is not None or limit.is_open or limit.is_half_open:
            return False
        return limit.holds is None or used.get(permit, 0) < limit.holds

    def _admit_woken(self, freed: Collection[str], *, until: float) -> None:
        try:
            self._admit(freed, until=until)
        except Exception:  # whoever waits for these permits is woken by the next run
            self._freed.add(freed, enough=self._enough)
            raise

    def _admit(self, freed: Collection[str], *, until: float) -> None:
        while True:
            with transaction_of_trips(self._database, idle=lines.IDLE) as connection:
                messages = admission.admit(
                    connection,
                    self._limits,
                    windows=self._windows,
                    fairness=self._fairness,
                    crowded=self._crowded,
                    probes=self.breakers.probes,
                    front=self._front,
                    freed=freed,
                )
            freed = ()
            if messages:
                sending.send(self._app, messages, database=self._database)
            if not self._front.is_more or time.monotonic() >= until:
                return
