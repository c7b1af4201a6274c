"""Record completed attempts and claim jobs without waiting for the database: for an event loop.

The statement is that of ``complete_and_claim.py``, prepared once, on a connection of its own.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.pool import PoolProxiedConnection

from celeriac.ledger.connection.watchdog import WATCHDOG, Watch
from celeriac.ledger.partitions.layout import AHEAD, Day
from celeriac.ledger.writes.claims import Claimed, claimed_of
from celeriac.ledger.writes.turn.complete_and_claim import statement

#: PGRES_TUPLES_OK (postgresql.org/docs/current/libpq-exec.html).
_ROWS = 2

_TIMESTAMPTZ = 1184  # its number among PostgreSQL's types

_BEFORE = 2  # days before today whose partitions are named

_Kind = tuple[bool, bool]  # whether it completes, whether it claims

#: The names of prepared statements, each with its parameters, or their names where they change.
_Statements = dict[_Kind, tuple[bytes, list[bytes | str]]]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What came of one exchange: the attempts that are on record, and the jobs that were won, by id."""

    completed: frozenset[str]
    claimed: dict[str, Claimed]


class Exchange:
    """One statement at a time is sent and answered.

    Args:
        pooled: a connection that was lent (``Database.lend``).
        within: seconds after which it is cut, if the database has not answered.
        days: of which the jobs' table has partitions; none of a plain table. Statements about jobs of one of
            those that are near name its partition.
    """

    def __init__(
        self,
        pooled: PoolProxiedConnection,
        *,
        worker: UUID,
        schema: str | None,
        within: float | None,
        days: Collection[Day] = (),
    ) -> None:
        self._pooled = pooled
        driver: Any = pooled.driver_connection
        self._connection: Any = driver.pgconn
        self._descriptor = int(driver.pgconn.socket)  # which cannot be asked for when the connection is lost
        self._worker = str(worker).encode()
        self._within = within
        self._watching: AbstractContextManager[Watch] | None = None
        self._writing: int | None = None
        self._results: list[Any] = []
        self._claims = self._completes = False  # what the last statement does
        moment = driver.adapters.get_loader(_TIMESTAMPTZ, 0)(_TIMESTAMPTZ, driver).load
        self._loaders: tuple[Callable[[bytes], Any], ...] = (
            *(int, int, int, int),
            *(_text, moment, _text, moment, moment, int),
        )
        self._near = sorted(set(days) & _near(Day.of(datetime.now(UTC))))
        self._of_days = [
            (str(day.first), str(day.next.first), self._prepared(schema, day.name)) for day in self._near
        ]
        self._of_all = self._prepared(schema, None)

    def _prepared(self, schema: str | None, partition: str | None) -> _Statements:
        made: _Statements = {}
        for kind in (True, True), (True, False), (False, True):
            text, names, fixed = statement(*kind).compiled(schema, partition)
            name = b"celeriac_exchange_%d%d_%b" % (*kind, (partition or "").encode())
            _require(self._connection.prepare(name, text))
            # A parameter that changes is given by its name; all others are written once.
            given = [
                _written(fixed[each]) if each in fixed and each not in _CHANGE else each for each in names
            ]
            made[kind] = name, given
        return made

    @property
    def is_outdated(self) -> bool:
        """Whether it was made so many days ago that today's partition is not among those it names."""
        return bool(self._near) and Day.of(datetime.now(UTC)) > self._near[-1]

    def fileno(self) -> int:
        return self._descriptor

    def send(self, completed: Sequence[tuple[str, int, str | None]], ids: Sequence[str]) -> bool:
        """Send the attempts ``(id, number, result)`` that were completed, and the jobs to be claimed.

        Ids are texts, as ``str`` makes them of a UUID. A result is JSON of the return value; None: not kept.

        Returns:
            Whether all of it was sent; ``flush`` sends the rest.

        Raises:
            psycopg.Error: the connection is lost.
        """
        self._completes, self._claims = bool(completed), bool(ids)
        values = {
            "worker": self._worker,
            "batch": f"[{','.join([_completed(*each) for each in completed])}]".encode(),
            "ids": f"{{{','.join(ids)}}}".encode(),
        }
        name, given = self._statements(completed, ids)[self._completes, self._claims]
        if self._within is not None:
            self._watching = WATCHDOG.watching(self.fileno(), within=self._within)
            self._watching.__enter__()
        self._connection.send_query_prepared(
            name, [values[each] if isinstance(each, str) else each for each in given]
        )
        return self.flush()

    def _statements(
        self, completed: Sequence[tuple[str, int, str | None]], ids: Sequence[str]
    ) -> _Statements:
        """Those of the day of all these jobs, or of the table."""
        if self._of_days:
            every = [*ids, *(id for id, _, _ in completed)]
            first, last = min(every), max(every)
            for begin, end, statements in self._of_days:
                if begin <= first and last < end:
                    return statements
        return self._of_all

    def flush(self) -> bool:
        """Send what was not sent yet; return whether that is all."""
        return not self._connection.flush()

    def writing_fileno(self) -> int:
        """The connection under another number, to be watched for when ``flush`` can send more.

        kombu's event loop watches a number for one thing alone.
        """
        if self._writing is None:
            self._writing = os.dup(self.fileno())
        return self._writing

    def filenos(self) -> list[int]:
        """Every number that was given out."""
        return [self._descriptor] if self._writing is None else [self._descriptor, self._writing]

    def read(self) -> Exchanged | None:
        """What came of it; None: the answer is not complete yet.

        Raises:
            psycopg.Error: the connection is lost. What was sent may have been done.
            RuntimeError: the database refuses it.
        """
        connection = self._connection
        connection.consume_input()
        while not connection.is_busy():
            result = connection.get_result()
            if result is None:
                self._stop_watching()
                results, self._results = self._results, []
                return self._exchanged(results)
            self._results.append(result)
        return None

    def wait(self, seconds: float) -> bool:
        """Wait until there is something to read; False: there was nothing so long."""
        readable, end = select.POLLIN | select.POLLHUP, time.monotonic() + seconds
        poller = select.poll()
        while True:
            is_sent = self.flush()
            poller.register(self.fileno(), readable if is_sent else readable | select.POLLOUT)
            found = poller.poll(max(0.0, end - time.monotonic()) * 1000)
            if is_sent or not found or found[0][1] != select.POLLOUT:
                return bool(found)

    def close(self) -> None:
        """Give the connection up: nobody else can use one that has these statements."""
        self._stop_watching()
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None
        self._pooled.invalidate()
        self._pooled.close()

    def _stop_watching(self) -> None:
        if (watching := self._watching) is not None:
            self._watching = None
            watching.__exit__(None, None, None)

    def _exchanged(self, results: Sequence[Any]) -> Exchanged:
        (result,) = results
        _require(result)
        value, claims, only_claims = result.get_value, self._claims, not self._completes
        completed: list[str] = []
        claimed: dict[str, Claimed] = {}
        for row in range(result.ntuples):
            job = value(row, 0).decode()
            if only_claims or (claims and value(row, 1) is not None):
                found = (value(row, column) for column in range(1, len(self._loaders) + 1))
                loaded: list[Any] = [
                    None if each is None else load(each)
                    for load, each in zip(self._loaders, found, strict=True)
                ]
                claimed[job] = claimed_of(UUID(job), *loaded)
            else:
                completed.append(job)
        return Exchanged(frozenset(completed), claimed)


def _near(today: Day) -> set[Day]:
    """The days whose jobs are most of those that a worker gets until it connects again."""
    return {today.later(number) for number in range(-_BEFORE, AHEAD + 1)}


#: The parameters that differ from one exchange to the next, or from one worker to another.
_CHANGE = frozenset({"worker", "batch", "ids"})


def _completed(job: str, attempt: int, result: str | None) -> str:
    """An attempt in the parameter ``batch``. The names are those of the columns of ``complete_statement``."""
    text = "null" if result is None else json.dumps(result)
    return f'{{"id":"{job}","attempt":{attempt},"result":{text}}}'


def _written(value: Any) -> bytes:
    return str(value).encode()


def _text(value: bytes) -> str:
    return value.decode()


def _require(result: Any) -> None:
    if result.status not in (1, _ROWS):  # PGRES_COMMAND_OK, of what is prepared
        raise RuntimeError(result.error_message.decode("utf-8", "replace").strip())
