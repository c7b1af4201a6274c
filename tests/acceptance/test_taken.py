"""A worker that was frozen long enough to be declared dead: what was taken from it is stopped there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import job
from tests.processes import living
from tests.support import wait_until
from tests.witness import START, Witness
from tests.workers import Worker

LONG = 60.0  # seconds: more than anything here takes, on a busy machine
IMPATIENT = {"heartbeat": 0.3, "worker_timeout": 1.5}


def test_an_attempt_that_was_taken_is_killed_and_its_worker_goes_on(
    producer: Celeriac,
    redis_url: str,
    postgres_url: str,
    start_worker: Callable[..., Worker],
    tmp_path: Path,
) -> None:
    witness, task = Witness(tmp_path / "witness"), producer.tasks["tests.witness"]

    def runners(id: str) -> list[int]:
        return [mark.pid for mark in witness.marks() if mark.job_id == id and mark.event == START]

    options: dict[str, Any] = {"concurrency": 1, "settings": IMPATIENT}
    first = start_worker(redis_url, postgres_url, **options).ready()
    long = task.delay(witness.path, 600).id
    wait_until(lambda: runners(long), within=LONG, saying="it runs")
    (victim,) = runners(long)
    first.freeze(children=False)

    start_worker(redis_url, postgres_url, **options).ready()
    wait_until(lambda: len(runners(long)) == 2, within=LONG, saying="it runs elsewhere")
    assert living([victim]), "nobody has told its child"
    first.thaw()
    wait_until(lambda: not living([victim]), within=LONG, saying="it is stopped where it was taken from")

    short = task.delay(witness.path, 0).id
    wait_until(lambda: job(short, app=producer).is_terminal, within=LONG, saying="the first works again")
    (by,) = runners(short)
    assert by in first.children()
    found = job(long, app=producer)
    assert (found.state, found.try_count) == (JobState.RUNNING, 2)
    assert [attempt.kind for attempt in found.attempts] == ["lost"]
    assert witness.ends()[long] == 0
