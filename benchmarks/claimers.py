"""Connections that claim and complete jobs as workers do, and run nothing: how much one database carries."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import islice
from uuid import UUID, uuid4

from celeriac import Celeriac
from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.ledger.writes.turn.complete_and_claim import complete_and_claim

#: Jobs of one statement: as many as a worker's has at full load.
BATCH = 50

_WAITING = "SELECT id FROM background_jobs WHERE state = 'pending' ORDER BY id"


def claim_all(app: Celeriac, connections: int) -> float:
    """Claim and complete every job that waits; return the seconds from first to last statement.

    Each connection is a worker of its own: it completes what it has claimed, and claims the next, in one
    statement, without a pause.
    """
    database = Database(app.settings.database, pool=connections, patience=60)
    with database.statement() as connection:
        ids = connection.exec_driver_sql(_WAITING).scalars().all()
    left, lock = iter(ids), threading.Lock()
    ready = threading.Barrier(connections + 1)

    def batches() -> Iterator[list[UUID]]:
        while True:
            with lock:
                mine = list(islice(left, BATCH))
            if not mine:
                return
            yield mine

    def claimer() -> None:
        worker = uuid4()
        complete_and_claim(database, (), (uuid4(),), worker=worker)  # connects, and finds nothing
        ready.wait()
        done: list[Outcome] = []
        for mine in batches():
            _, won = complete_and_claim(database, done, mine, worker=worker)
            done = [Outcome(id=id, attempt=one.attempt, state=JobState.COMPLETED) for id, one in won.items()]
        complete_and_claim(database, done, (), worker=worker)

    threads = [threading.Thread(target=claimer) for _ in range(connections)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    database.close()
    return took
