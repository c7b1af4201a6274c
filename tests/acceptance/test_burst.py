"""``-P burst``: jobs share a message to a child, and nothing else."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery import chain, chord
from sqlalchemy import select, text

import tests.async_jobs
import tests.burst_jobs  # noqa: F401  # the producer knows the tasks, too
from celeriac.application import Celeriac
from celeriac.enqueue.bulk import enqueue_many
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.operate.job import job
from tests.scrape import scraped
from tests.servers import free_port
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import Worker

LONG = 60.0  # seconds: more than anything here takes, on a busy machine

#: What a job of ``tests.step`` does, its state at the end, and the kinds of its unsuccessful attempts.
FATES: dict[str, tuple[JobState, list[str]]] = {
    "die": (JobState.FAILED, ["lost", "lost"]),
    "leave": (JobState.FAILED, ["error", "error"]),
    "fail": (JobState.FAILED, ["error", "error"]),
    "reject": (JobState.FAILED, ["rejected"]),
    "retry": (JobState.COMPLETED, ["error"]),
    "soft": (JobState.COMPLETED, []),
    "hard": (JobState.FAILED, ["timeout", "timeout"]),
}


def worker(start: Callable[..., Worker], *where: str, pool: str = "burst", **options: Any) -> Worker:
    options = {"include": "tests.jobs,tests.burst_jobs,tests.async_jobs", **options}
    return start(*where, pool=pool, **options).ready()


def rows(app: Celeriac, task: str = "tests.step") -> dict[str, Any]:
    with app.database.reading() as connection:
        found = connection.execute(
            select(JOBS.c.id, JOBS.c.state, JOBS.c.try_count, JOBS.c.payload).where(JOBS.c.job_type == task)
        )
        return {str(row.id): row for row in found}


def kinds(app: Celeriac) -> dict[str, list[str]]:
    """The kinds of the unsuccessful attempts, by job."""
    found: dict[str, list[str]] = {}
    with app.database.reading() as connection:
        for row in connection.execute(
            select(FAILURES.c.job_id, FAILURES.c.kind).order_by(FAILURES.c.attempt)
        ):
            found.setdefault(str(row.job_id), []).append(str(row.kind))
    return found


def all_ended(app: Celeriac, count: int) -> None:
    def ended() -> bool:
        states = Counter(row.state for row in rows(app).values())
        return states[JobState.COMPLETED] + states[JobState.FAILED] == count

    wait_until(ended, within=LONG, saying=f"{count} jobs have ended")


def enqueue(app: Celeriac, calls: Sequence[Sequence[Any]], **options: Any) -> None:
    enqueue_many(app.tasks["tests.step"], calls, **options)


def test_each_job_of_a_bundle_has_its_own_fate(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """Deaths, exits, limits, rejects and retries among hundreds of others, which run once each."""
    path = str(tmp_path / "witness")
    worker(start_worker, redis_url, postgres_url)
    enqueue(producer, [[path]] * 200)  # from now on the pace is known, and they travel in bundles
    all_ended(producer, 200)

    special = {what: [[path, what]] for what in FATES}
    ids: dict[str, str] = {}
    for what, (call,) in special.items():
        limits = {"soft": {"soft_time_limit": 0.2, "time_limit": 30}, "hard": {"time_limit": 0.3}}
        options: dict[str, Any] = limits.get(what, {})
        enqueue(producer, [[path]] * 50)
        words = [path, "sleep", 60.0] if what == "hard" else call
        ids[what] = producer.tasks["tests.step"].apply_async(words, **options).id
        enqueue(producer, [[path]] * 50)
    all_ended(producer, 200 + 101 * len(FATES))

    found, attempts, witness = rows(producer), kinds(producer), Witness(path)
    for what, (state, failed) in FATES.items():
        id = ids[what]
        assert (found[id].state, attempts.get(id, [])) == (state, failed), what
    plain = set(found) - set(ids.values())
    assert {(found[id].state, found[id].try_count) for id in plain} == {(JobState.COMPLETED, 1)}
    ran = Counter({id: times for id, times in witness.starts().items() if id in plain})
    assert set(ran.values()) == {1}
    assert set(ran) == plain
    assert witness.count("soft") == {ids["soft"]: 1}


def test_what_ends_well_needs_no_request_of_celerys_and_anything_else_has_one(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """Also while a job waits: a remote control command sees it, and it is counted once."""
    path, port = str(tmp_path / "witness"), free_port()
    running = worker(start_worker, redis_url, postgres_url, settings={"health_port": port})
    enqueue(producer, [[path]] * 300)
    enqueue(producer, [[path, "fail"]] * 2)
    all_ended(producer, 302)

    def lean() -> float:
        return scraped(port)["celeriac_worker_lean_attempts_total", ()]

    # On a busy machine some take 50 ms, and have a request then.
    wait_until(lambda: 150 <= lean() <= 300, within=LONG, saying="successes took the lean lane")
    inspect = producer.control.inspect([running.node], timeout=10)
    assert inspect.stats()[running.node]["total"] == {"tests.step": 304}

    enqueue(producer, [[path, "", 0.15]] * 100)
    seen = wait_until(
        lambda: inspect.reserved()[running.node], within=LONG, saying="jobs that wait for a child are seen"
    )
    assert {each["name"] for each in seen} == {"tests.step"}
    all_ended(producer, 402)
    assert lean() <= 400 - len(seen), "what was seen has a request"
    assert inspect.stats()[running.node]["total"] == {"tests.step": 404}
    assert {row.state for row in rows(producer).values()} == {JobState.COMPLETED, JobState.FAILED}


def test_children_that_are_killed_cost_one_attempt_each(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    path, count, kills = str(tmp_path / "witness"), 3_000, 0
    started = worker(start_worker, redis_url, postgres_url)
    enqueue(producer, [[path, "", 0.0005]] * count, max_tries=50)
    witness = Witness(path)
    for done in range(count // 20, count, count // 20):
        wait_until(partial(_ran, witness, done), within=LONG, saying=f"{done} jobs have run")
        with suppress(ProcessLookupError):  # it may have ended with the job that was at work
            alive = wait_until(started.children, within=LONG, saying="a child is there")
            os.kill(alive[kills % len(alive)], signal.SIGKILL)
            kills += 1
    all_ended(producer, count)

    found, attempts = rows(producer), kinds(producer)
    starts, ends = witness.starts(), witness.ends()
    assert kills >= 10
    assert {row.state for row in found.values()} == {JobState.COMPLETED}
    assert {kind for each in attempts.values() for kind in each} <= {"lost"}
    assert sum(map(len, attempts.values())) <= kills, "a death costs one attempt at most"
    for id, row in found.items():
        lost = len(attempts.get(id, []))
        assert row.try_count == lost + 1
        assert 1 <= ends[id] <= starts[id] <= lost + 1, "nobody runs a job again whose attempt is not lost"


def test_connections_to_the_ledger_that_are_cut_cost_nothing(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """Also the one through which the event loop claims and records: what it had sent may have been done."""
    path, count, cut = str(tmp_path / "witness"), 4_000, 0
    worker(start_worker, redis_url, postgres_url)
    enqueue(producer, [[path, "", 0.0005]] * count)
    witness = Witness(path)
    for done in range(count // 10, count, count // 10):
        wait_until(partial(_ran, witness, done), within=LONG, saying=f"{done} jobs have run")
        with producer.database.statement() as connection:
            cut += len(connection.execute(_CUT).all())
    all_ended(producer, count)
    assert cut >= 1
    assert kinds(producer) == {}
    assert {(row.state, row.try_count) for row in rows(producer).values()} == {(JobState.COMPLETED, 1)}
    assert set(witness.ends().values()) == {1}


#: Ends the connection through which a worker claims in its event loop, by what it has prepared there.
_CUT = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'WITH done AS%'"
    " AND datname = current_database() AND pid <> pg_backend_pid()"
)


def test_who_watches_events_sees_each_job_as_in_prefork(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """And the jobs take the lean lane all the same, but for one that runs long, and one that fails."""
    path, port, seen = str(tmp_path / "witness"), free_port(), dict[str, list[dict[str, Any]]]()
    beats: list[str] = []

    def note(event: dict[str, Any]) -> None:
        if "uuid" in event:
            seen.setdefault(event["uuid"], []).append(event)
        else:
            beats.append(event["hostname"])

    settings = {"health_port": port}
    running = worker(start_worker, redis_url, postgres_url, settings=settings, options=("-E",))
    with producer.connection_for_read() as connection:
        receiver = producer.events.Receiver(connection, handlers={"*": note})
        hears = threading.Thread(target=receiver.capture, kwargs={"timeout": LONG, "wakeup": False})
        hears.start()
        heard = partial(producer.control.broadcast, "heartbeat", destination=[running.node])
        wait_until(lambda: heard() or beats, within=LONG, saying="events arrive")
        enqueue(producer, [[path]] * 300 + [[path, "", 0.3], [path, "fail"]])
        wait_until(
            lambda: sum(each[-1]["type"] in _LAST for each in list(seen.values())) == 302,
            within=LONG,
            saying="each job's last event has come",
        )
        receiver.should_stop = True
        hears.join(LONG)
    (failed,) = [id for id, row in rows(producer).items() if row.state == JobState.FAILED]
    for id, events in seen.items():
        if id == failed:
            continue
        assert [each["type"] for each in events] == ["task-received", "task-started", "task-succeeded"]
        assert {each["hostname"] for each in events} == {running.node}
        received, started, succeeded = events
        assert (received["name"], received["retries"]) == ("tests.step", 0)
        assert received["timestamp"] <= started["timestamp"] <= succeeded["timestamp"]
        # The child has not told of one that is known to be done by its mark, behind a job that runs long.
        assert succeeded["result"] in ("None", None)
        assert 0 <= succeeded["runtime"] < LONG
    assert sum(events[-1].get("result") == "None" for events in seen.values()) >= 150
    assert [each["type"] for each in seen[failed]].count("task-failed") == 1
    assert scraped(port)["celeriac_worker_lean_attempts_total", ()] >= 150


#: The events with which an attempt ends for good.
_LAST = ("task-succeeded", "task-failed")


def _ran(witness: Witness, count: int) -> bool:
    return sum(witness.ends().values()) >= count


@pytest.mark.parametrize("name", ["tests.request_of", "tests.async_request_of"])
def test_what_a_task_sees_of_its_request_is_as_in_prefork(
    name: str, producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker]
) -> None:
    task = producer.tasks[name]

    def seen(pool: str) -> list[dict[str, Any]]:
        running = worker(start_worker, redis_url, postgres_url, pool=pool)
        plain = task.apply_async((1,), {}, headers={"team": "blue"}, shadow="other", priority="high")
        second = chain(task.s(2), task.s())()
        body = chord([task.s(3), task.s(4)])(task.s())
        parts = [plain, second.parent, second, *body.parent.results, body]
        wait_until(
            lambda: all(job(each.id, app=producer).state is JobState.COMPLETED for each in parts),
            within=LONG,
            saying="they have run",
        )
        running.term()
        assert running.wait(LONG) == 0
        return [_timeless(each.get(timeout=LONG)) for each in parts]

    for ours, theirs in zip(seen("burst"), seen("prefork"), strict=True):
        assert ours.keys() == theirs.keys()
        assert {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]} == {}


def _timeless(found: dict[str, str]) -> dict[str, str]:
    """Without what differs from one job to another."""
    text = {key: re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", value) for key, value in found.items()}
    text = {key: re.sub(r"worker[-\w]*@test", "NODE", value) for key, value in text.items()}
    numbers = re.compile(r"'tag': -?\d+|'delivery_tag': '\w+'|gen\d+@\S+")
    text = {key: numbers.sub("NUMBER", value) for key, value in text.items()}
    return {key: re.sub(r"\{'(args|argsrepr)'.*", "…", value) for key, value in text.items()}


def test_a_short_job_does_not_wait_behind_one_that_was_thought_to_be_short(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """The pace of the task says that it is short; the rest of its bundle goes to the other child."""
    path = str(tmp_path / "witness")
    running = worker(start_worker, redis_url, postgres_url)
    enqueue(producer, [[path]] * 200)
    all_ended(producer, 200)
    enqueue(producer, [[path, "", 0.0]] * 5 + [[path, "", 600.0]] + [[path, "", 0.0]] * 200)
    wait_until(
        lambda: sum(row.state == JobState.COMPLETED for row in rows(producer).values()) == 405,
        within=LONG,
        saying="all others have run",
    )
    (long,) = [id for id, row in rows(producer).items() if row.state == JobState.RUNNING]
    assert producer.control.inspect(timeout=10).active()[running.node][0]["id"] == long
    producer.control.revoke(long, terminate=True)
    wait_until(lambda: job(UUID(long), app=producer).is_terminal, within=LONG, saying="it is terminated")
    assert job(UUID(long), app=producer).state is JobState.CANCELLED


def test_what_makes_all_jobs_slower_is_said_at_the_start(
    redis_url: str, postgres_url: str, start_worker: Callable[..., Worker], producer: Celeriac, tmp_path: Path
) -> None:
    """And then they run all the same."""
    options = ["--autoscale", "2,1", "-l", "DEBUG"]
    running = worker(start_worker, redis_url, postgres_url, options=options)
    assert "because of the autoscaler, logs at DEBUG" in running.log
    enqueue(producer, [[str(tmp_path / "witness")]] * 50)
    all_ended(producer, 50)
    plain = worker(start_worker, redis_url, postgres_url)
    assert "because of" not in plain.log
