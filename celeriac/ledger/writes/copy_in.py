"""Enqueue many jobs that differ only in their ids and arguments, by COPY, which is the quickest.

COPY fails on a row that exists, so the ids must be new. It cannot read the server's clock, which is therefore
read first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from celeriac.ledger.connection.schema_name import qualified, schema_of
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.new_jobs import COPIED, NewJob

#: Headers that differ from job to job, and one more where each job begins a workflow of its own.
_OWN = ("id", "argsrepr", "kwargsrepr")
_ROOT = "root_id"

#: Added to the time from one row to the next, so that jobs are drawn and listed in the order of the calls.
_STEP = timedelta(microseconds=1)

_encode = json.JSONEncoder(check_circular=False).encode
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


@dataclass(frozen=True, slots=True)
class SimilarJobs:
    """Jobs that are made from one template.

    Attributes:
        model: the values that they have in common; it is not a job itself.
        rows: id, payload and own headers of each job; the headers are JSON without the braces.
    """

    model: NewJob
    rows: Sequence[tuple[str, bytes, str]]

    def headers(self) -> dict[str, Any]:
        """The headers that are the same for all."""
        own = (*_OWN, _ROOT) if is_root(self.model) else _OWN
        return {name: value for name, value in self.model.headers.items() if name not in own}

    def jobs(self) -> list[NewJob]:
        """The same jobs, each as a NewJob."""
        common, root = self.headers(), is_root(self.model)
        made = []
        for written, payload, own in self.rows:
            id = UUID(written)
            headers = common | json.loads(f"{{{own}}}")
            job = replace(self.model, id=id, payload=payload, headers=headers)
            made.append(replace(job, root_id=id) if root else job)
        return made

    def unsent(self) -> SimilarJobs:
        return SimilarJobs(self.model.unsent(), self.rows)


def is_root(job: NewJob) -> bool:
    """Whether the job is the first of its workflow."""
    return job.root_id == job.id


def own_headers(id: str, argsrepr: str, kwargsrepr: str, *, root: bool) -> str:
    """The headers of one job in ``SimilarJobs.rows``.

    >>> own_headers("1", "(7,)", "{}", root=False)
    '"id": "1", "argsrepr": "(7,)", "kwargsrepr": "{}"'
    """
    fields = f'"id": "{id}", "argsrepr": {_quoted(argsrepr)}, "kwargsrepr": {_quoted(kwargsrepr)}'
    return f'{fields}, "{_ROOT}": "{id}"' if root else fields


@contextmanager
def copying(connection: Connection, jobs: SimilarJobs) -> Iterator[None]:
    """Send the rows when the block begins, and write them when it ends, in ``connection``'s transaction.

    PostgreSQL only.

    Raises:
        psycopg.Error: as the driver raises it; UniqueViolation if an id exists.
    """
    clock: datetime = connection.execute(select(now())).scalar_one()
    columns, lines = _lines(jobs, clock)
    statement: Any = f"COPY {qualified('background_jobs', schema_of(connection))} ({columns}) FROM STDIN"
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write("".join(lines))
        yield


def _lines(jobs: SimilarJobs, clock: datetime) -> tuple[str, list[str]]:
    """The columns, and the rows as COPY reads them (postgresql.org/docs/current/sql-copy.html)."""
    model, root = jobs.model, is_root(jobs.model)
    shared = {
        name: value for name, value in _shared(model, clock).items() if not (root and name == "root_id")
    }
    start = _encode(jobs.headers())[:-1].translate(_ESCAPES) + ", "
    end = "".join(f"\t{_written(value)}" for value in shared.values())
    moment, wait = model.not_before, timedelta(seconds=model.delay)
    lines = []
    for id, payload, own in jobs.rows:
        queued = due = clock.isoformat()
        if moment is not None:
            due = moment.isoformat()
        elif wait:
            due = (clock + wait).isoformat()
        own = own.replace("\\", "\\\\")  # JSON escapes the rest
        last = f"{end}\t{id}" if root else end
        lines.append(f"{id}\t\\\\x{payload.hex()}\t{start}{own}}}\t{queued}\t{due}{last}\n")
        clock += _STEP
    columns = (
        "id",
        "payload",
        "headers",
        "queued",
        "next_attempt_after",
        *shared,
        *(["root_id"] if root else []),
    )
    return ", ".join(columns), lines


def _shared(job: NewJob, clock: datetime) -> dict[str, Any]:
    """Columns that are the same in all rows: ``new_jobs.computed`` in Python. A test compares the two."""
    expires = None if job.expires_in is None else clock + timedelta(seconds=job.expires_in)
    return {name: getattr(job, name) for name in COPIED if name not in ("id", "payload", "headers")} | {
        "expires": job.expires or expires,
        "dispatched": clock if job.dispatch_count else None,
        "dispatch_count": job.dispatch_count,
        "state": JobState.PENDING.value,
        "try_count": 0,
    }


def _written(value: Any) -> str:
    if value is None:
        return "\\N"
    return value.isoformat() if isinstance(value, datetime) else str(value).translate(_ESCAPES)
