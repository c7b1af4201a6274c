"""What follows a task while the ledger is silent: it is written with the outcome of the task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from sqlalchemy import make_url

from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.operate.job import Job, job, jobs
from tests.producers import producing
from tests.proxy import Proxy
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import Worker

pytestmark = pytest.mark.timeout(300)

LONG = 60.0  # seconds: more than anything here takes, on a busy machine
KEPT = "are written with its outcome"  # what a worker logs of successors that were not taken
SETTINGS = {"enqueue_timeout": 1, "retry_base": 0.05}


@dataclass
class Stand:
    """A worker of one child behind a proxy that can hang before PostgreSQL, and a producer that is not."""

    app: Celeriac
    worker: Worker
    proxy: Proxy
    directory: Path

    def sig(self, task: str, *args: Any, **options: Any) -> Any:
        return self.app.tasks[f"tests.{task}"].signature(args, **options)

    def held(self, *args: Any) -> tuple[Any, Witness]:
        """The signature of a task that waits for ``silenced``, and the file of its attempts."""
        path = self.directory / "held"
        return self.sig("hold", str(path), *args), Witness(path)

    def silenced(self, witness: Witness) -> None:
        """Let the task go on while the ledger is silent, until its successors were not taken."""
        before = self.worker.log.count(KEPT)
        wait_until(witness.marks, within=LONG, saying="the task is at work")
        self.proxy.hang()
        Path(f"{witness.path}.go").touch()
        wait_until(lambda: self.worker.log.count(KEPT) > before, within=LONG, saying="they were not taken")
        self.proxy.mend()

    def ended(self) -> list[Job]:
        """All jobs, the earliest first, once they are terminal."""

        def over() -> bool:
            return all(row.state in TERMINAL for row in jobs(limit=100, app=self.app))

        wait_until(over, within=LONG, saying="all jobs have ended")
        return jobs(limit=100, app=self.app)[::-1]

    def ended_one(self, id: str) -> Job:
        wait_until(lambda: job(id, app=self.app).state in TERMINAL, within=LONG, saying=f"{id} has ended")
        return job(id, app=self.app)


@pytest.fixture
def pool() -> str:
    return "burst"


@pytest.fixture
def stand(redis_url: str, postgres_url: str, pool: str, tmp_path: Path) -> Iterator[Stand]:
    with ExitStack() as stack:
        direct = make_url(postgres_url)
        assert direct.port is not None
        proxy = stack.enter_context(Proxy(direct.port))
        through = direct.set(port=proxy.port).render_as_string(hide_password=False)
        app = stack.enter_context(producing(redis_url, postgres_url))
        worker = Worker(redis_url, through, pool=pool, concurrency=1, settings=SETTINGS)
        stack.enter_context(worker).ready()
        yield Stand(app, worker, proxy, tmp_path)


def outcomes(rows: list[Job]) -> list[tuple[str, JobState, int]]:
    return [(row.task, row.state, row.try_count) for row in rows]


DONE = JobState.COMPLETED


def a_link(stand: Stand, held: Any) -> Any:
    return held.apply_async(link=stand.sig("add", 1))


def a_chain(stand: Stand, held: Any) -> Any:
    return chain(held, stand.sig("add", 1)).apply_async()


@pytest.mark.parametrize("pool", ["burst", "prefork", "threads"])
@pytest.mark.parametrize("warm", [False, True], ids=["refused", "uncertain"])
@pytest.mark.parametrize("send", [a_link, a_chain])
def test_a_silent_ledger_harms_neither_a_task_nor_what_follows_it(
    stand: Stand, send: Callable[[Stand, Any], Any], warm: bool
) -> None:
    if warm:  # the child has a connection then, and is silent in the middle of its statement
        stand.ended_one(stand.sig("spawn").apply_async().id)
    before = len(stand.ended())
    held, witness = stand.held(41)
    send(stand, held)
    stand.silenced(witness)
    wait_until(lambda: len(jobs(app=stand.app)) == before + 2, within=LONG, saying="the successor is there")
    rows = stand.ended()[before:]
    assert outcomes(rows) == [("tests.hold", DONE, 1), ("tests.add", DONE, 1)]
    assert [row.result for row in rows] == [41, 42]
    assert rows[1].parent_id == rows[0].id
    assert sum(witness.starts().values()) == 1


def test_a_chords_body_is_released_with_the_outcome_of_its_last_member(stand: Stand) -> None:
    held, witness = stand.held(41)
    result = chord([stand.sig("add", 0, 1), held])(stand.sig("total"))
    stand.silenced(witness)
    body = stand.ended_one(result.id)
    assert (body.state, body.try_count, body.result) == (DONE, 1, 42)
    assert outcomes(stand.ended()).count(("tests.hold", DONE, 1)) == 1
    assert sum(witness.starts().values()) == 1


def test_a_group_that_follows_is_written_with_the_outcome(stand: Stand) -> None:
    held, witness = stand.held(1)
    result = chain(held, group(stand.sig("add", 1), stand.sig("add", 2)), stand.sig("total")).apply_async()
    stand.silenced(witness)
    wait_until(lambda: len(jobs(app=stand.app)) == 4, within=LONG, saying="all that follows is there")
    assert stand.ended_one(result.id).result == 5
    assert {(state, tries) for _, state, tries in outcomes(stand.ended())} == {(DONE, 1)}


def test_an_errback_that_is_a_job_is_written_with_the_failure(stand: Stand) -> None:
    held, witness = stand.held(0, "broken")
    heard = stand.directory / "heard"
    failed = held.set(max_tries=1).apply_async(link_error=stand.sig("listen", str(heard), "errback"))
    stand.silenced(witness)
    wait_until(Witness(heard).marks, within=LONG, saying="the errback ran")
    row = stand.ended_one(failed.id)
    assert (row.state, [each.exception for each in row.attempts]) == (JobState.FAILED, ["broken"])
    assert sum(Witness(heard).starts().values()) == 1
