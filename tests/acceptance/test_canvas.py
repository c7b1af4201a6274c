"""Celery's canvas on a real worker: chains, groups, chords, links, replacements; every member has its row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis
from celery import chain, chord, group
from celery.canvas import Signature
from celery.exceptions import ChordError

import tests.jobs  # noqa: F401  # the producer knows the tasks, too
from celeriac.application import Celeriac
from celeriac.errors import JobNotFound
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.operate.job import Job, job, jobs
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.conftest import _postgres_copy
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import Worker

LONG = 30.0  # seconds: more than anything here takes, on a busy machine
SETTINGS: dict[str, Any] = {"retry_base": 0.05}


@dataclass
class Stand:
    """A worker on PostgreSQL, and a producer."""

    app: Celeriac
    worker: Worker
    broker: str
    directory: Path

    def sig(self, task: str, *args: Any, **options: Any) -> Signature:
        return self.app.tasks[f"tests.{task}"].signature(args, **options)

    def listener(self, name: str) -> tuple[str, Witness]:
        """A file for callbacks to write to, and its reader."""
        path = self.directory / name
        return str(path), Witness(path)

    def job(self, id: str) -> Job:
        return job(id, app=self.app)

    def ended(self, id: str) -> Job:
        """The job once it is terminal; it may not even be enqueued yet."""
        wait_until(lambda: self._is_terminal(id), within=LONG, saying=f"job {id} is terminal")
        return self.job(id)

    def _is_terminal(self, id: str) -> bool:
        try:
            return self.job(id).state in TERMINAL
        except JobNotFound:
            return False

    def rows(self, root: str) -> list[Job]:
        """The jobs of a workflow, the earliest first."""
        return [row for row in reversed(jobs(limit=1000, app=self.app)) if row.root_id == root]


@pytest.fixture(scope="module")
def stand(
    valkey: str,
    _redis_databases: Iterator[int],
    postgres: str,
    _postgres_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stand]:
    broker = urlsplit(valkey)._replace(path=f"/{next(_redis_databases)}").geturl()
    with ExitStack() as stack:
        client = stack.enter_context(closing(redis.Redis.from_url(broker)))
        client.flushdb()
        stack.callback(client.flushdb)
        database = stack.enter_context(_postgres_copy(postgres, _postgres_template))
        known = {"broker_url": broker, "database_url": database, "task_modules": ("tests.jobs",)}
        app = build(Settings(**known, **SETTINGS), set_as_current=False)
        stack.callback(app.close)
        stack.callback(app.database.close)
        worker = Worker(broker, database, concurrency=3, settings=SETTINGS)
        stack.enter_context(worker).ready()
        yield Stand(app, worker, broker, tmp_path_factory.mktemp("canvas"))


# ---- chains and groups


def test_a_chain(stand: Stand) -> None:
    result = chain(stand.sig("add", 1, 2), stand.sig("add", 3), stand.sig("add", 4)).apply_async()
    assert result.get(timeout=LONG) == 10
    first, second, third = (stand.ended(id) for id in (result.parent.parent.id, result.parent.id, result.id))
    assert [row.result for row in (first, second, third)] == [3, 6, 10]
    assert {row.root_id for row in (first, second, third)} == {first.id}
    assert [row.parent_id for row in (first, second, third)] == [None, first.id, second.id]


def test_a_chain_goes_on_after_a_retry(stand: Stand) -> None:
    result = chain(stand.sig("flaky", 2), stand.sig("add", 40)).apply_async()
    assert result.get(timeout=LONG) == 42
    assert len(stand.rows(result.parent.id)) == 2


def test_a_chain_goes_on_after_a_retry_with_other_arguments(stand: Stand) -> None:
    result = chain(stand.sig("retry_with", 1), stand.sig("add", 40)).apply_async()
    assert result.get(timeout=LONG) == 42


def test_a_chain_ends_where_it_fails(stand: Stand) -> None:
    failing = stand.sig("fail", "broken").set(max_tries=2)
    result = chain(stand.sig("add", 1, 2), failing.set(immutable=True), stand.sig("add", 3)).apply_async()
    with pytest.raises(ValueError, match="broken"):
        result.get(timeout=LONG)
    assert stand.ended(result.parent.id).try_count == 2
    assert len(stand.rows(result.parent.parent.id)) == 2  # the third never was enqueued


def test_a_group(stand: Stand) -> None:
    result = group(stand.sig("add", number, number) for number in range(5)).apply_async()
    assert result.get(timeout=LONG) == [0, 2, 4, 6, 8]
    rows = [stand.ended(member.id) for member in result.results]
    assert {row.group_id for row in rows} == {result.id}
    assert {row.state for row in rows} == {JobState.COMPLETED}


def test_options_of_a_signature_reach_its_row(stand: Stand) -> None:
    options = {"priority": "high", "max_tries": 7, "timeout": 30, "user_id": "ada"}
    result = chain(stand.sig("add", 1, 2), stand.sig("add", 3).set(**options)).apply_async()
    assert result.get(timeout=LONG) == 6
    row = stand.ended(result.id)
    assert (row.queue, row.priority, row.max_tries, row.timeout, row.user_id) == ("high", 20, 7, 30, "ada")


# ---- chords


def adds(stand: Stand, *numbers: float) -> Any:
    return group(stand.sig("add", number, 0) for number in numbers)


def test_a_chord(stand: Stand) -> None:
    result = chord(adds(stand, 1, 2, 3, 4), stand.sig("total")).apply_async()
    assert result.get(timeout=LONG) == 10
    body = stand.ended(result.id)
    members = [stand.ended(member.id) for member in result.parent.results]
    assert {member.group_id for member in members} == {result.parent.id}
    assert body.parent_id in {member.id for member in members}
    assert body.root_id in {member.root_id for member in members}
    assert (body.try_count, body.result) == (1, 10)


def test_a_chord_whose_member_is_retried(stand: Stand) -> None:
    header = group([stand.sig("flaky", 2), stand.sig("add", 1, 2)])
    result = chord(header, stand.sig("total")).apply_async()
    assert result.get(timeout=LONG) == 5
    assert stand.ended(result.id).try_count == 1


def test_a_chord_whose_member_is_retried_with_other_arguments(stand: Stand) -> None:
    header = group([stand.sig("retry_with", 1), stand.sig("add", 1, 2)])
    result = chord(header, stand.sig("total")).apply_async()
    assert result.get(timeout=LONG) == 5


def test_a_chord_whose_member_fails(stand: Stand) -> None:
    """The body fails, its errbacks hear of it once, and only after the member's last try."""
    path, heard = stand.listener("chord")
    failing = stand.sig("fail", "broken").set(max_tries=3)
    body = stand.sig("total").on_error(stand.sig("listen_to_error", path, "errback"))
    result = chord(group([failing, stand.sig("add", 1, 2)]), body).apply_async()
    with pytest.raises(ChordError, match="broken"):
        stand.app.AsyncResult(result.id).get(timeout=LONG)
    member = stand.ended(result.parent.results[0].id)
    assert (member.state, member.try_count) == (JobState.FAILED, 3)
    wait_until(heard.marks, within=LONG, saying="the errback was called")
    assert heard.marks()[0].at > member.attempts[1].finished.timestamp()
    assert dict(heard.starts()) == {"errback": 1}


def test_the_error_of_a_member_is_raised_before_that_of_its_chord(stand: Stand) -> None:
    """Also when both have failed since Celery asked the members, which it does now and then."""
    header = group([stand.sig("fail", "broken").set(max_tries=1), stand.sig("add", 1, 2)])
    result = chord(header, stand.sig("total")).apply_async()
    stand.ended(result.id)
    ask: Any = result._maybe_reraise_parent_error  # as ``.get()`` does
    with pytest.raises(ValueError, match="broken"):
        result.backend.wait_for_pending(result, timeout=LONG, on_interval=ask)


def test_a_nested_chord(stand: Stand) -> None:
    inner = chord(adds(stand, 1, 2), stand.sig("total"))
    result = chord(group([inner, stand.sig("add", 3, 4)]), stand.sig("total")).apply_async()
    assert result.get(timeout=LONG) == 10


def test_a_group_of_a_chord_whose_body_is_a_chain_ends(stand: Stand) -> None:
    """Celery's own tests expect a time-out of it (test_nested_group_chord_body_chain)."""
    inner = chord([stand.sig("add", 40, 2)], chain(stand.sig("total"), stand.sig("add", 0)))
    assert group([inner]).apply_async().get(timeout=LONG) == [42]


def test_a_chord_in_a_chain(stand: Stand) -> None:
    both = group([stand.sig("add", 10), stand.sig("add", 20)])
    result = chain(stand.sig("add", 1, 1), both, stand.sig("total"), stand.sig("add", 8)).apply_async()
    assert result.get(timeout=LONG) == 42
    row = stand.ended(result.id)
    assert row.root_id is not None
    assert [member.state for member in stand.rows(row.root_id)] == [JobState.COMPLETED] * 5


def test_a_chain_in_a_chord(stand: Stand) -> None:
    header = group(chain(stand.sig("add", number, 1), stand.sig("add", 10)) for number in range(3))
    assert chord(header, stand.sig("total")).apply_async().get(timeout=LONG) == 36


def test_a_chord_that_grows(stand: Stand) -> None:
    header = group([stand.sig("grow_chord", 1), stand.sig("add", 1, 2)])
    assert chord(header, stand.sig("total")).apply_async().get(timeout=LONG) == 104


# ---- links


def test_a_link_runs_after_the_success(stand: Stand) -> None:
    path, heard = stand.listener("link")
    result = stand.sig("flaky", 1).apply_async(link=stand.sig("listen", path))
    assert result.get(timeout=LONG) == 1
    wait_until(heard.marks, within=LONG, saying="the callback was called")
    (id,) = heard.starts()
    callback = stand.ended(id)
    assert (callback.parent_id, callback.root_id, callback.args) == (result.id, result.id, [1, path])
    assert dict(heard.starts()) == {id: 1}


@pytest.mark.parametrize("options", [{}, {"bind": True}], ids=["called", "enqueued"])
def test_a_link_error_hears_of_the_last_try(stand: Stand, options: dict[str, bool]) -> None:
    """An errback of the newer kind is called where the job failed; of the older, it is a job of its own."""
    path, heard = stand.listener(f"errback-{'enqueued' if options else 'called'}")
    errback = stand.sig("listen" if options else "listen_to_error", path, "errback")
    result = stand.sig("fail", "broken").apply_async(max_tries=3, link_error=errback)
    with pytest.raises(ValueError, match="broken"):
        result.get(timeout=LONG)
    failed = stand.ended(result.id)
    wait_until(heard.marks, within=LONG, saying="the errback was called")
    assert heard.marks()[0].at > failed.attempts[1].finished.timestamp()
    assert dict(heard.starts()) == {"errback": 1}


def test_a_link_error_is_not_called_for_a_success(stand: Stand) -> None:
    path, heard = stand.listener("no-errback")
    result = stand.sig("flaky", 2).apply_async(link_error=stand.sig("listen_to_error", path, "errback"))
    assert result.get(timeout=LONG) == 2
    stand.ended(result.id)
    assert heard.marks() == []


@pytest.mark.parametrize("task", ["kill_self", "hang"])
def test_a_link_error_hears_of_the_last_lost_child(stand: Stand, task: str) -> None:
    path, heard = stand.listener(f"errback-{task}")
    signature = stand.sig("kill_self", 9) if task == "kill_self" else stand.sig("hang", True)
    errback = stand.sig("listen_to_error", path, "errback")
    options = {"time_limit": 1} if task == "hang" else {}
    result = signature.apply_async(max_tries=2, link_error=errback, **options)
    failed = stand.ended(result.id)
    assert (failed.state, failed.try_count) == (JobState.FAILED, 2)
    wait_until(heard.marks, within=LONG, saying="the errback was called")
    assert heard.marks()[0].at > failed.attempts[0].finished.timestamp()
    assert dict(heard.starts()) == {"errback": 1}


# ---- replace


@pytest.mark.parametrize(("kind", "value"), [("job", 6), ("chain", 6), ("group", [1, 2, 3]), ("chord", 6)])
def test_a_task_replaces_itself(stand: Stand, kind: str, value: object) -> None:
    result = stand.sig("become", kind).apply_async()
    assert result.get(timeout=LONG) == value
    row = stand.ended(result.id)
    assert (row.state, row.result, row.try_count) == (JobState.COMPLETED, value, 1)
    assert row.task != "tests.become"
    assert {member.state for member in stand.rows(result.id)} == {JobState.COMPLETED}


@pytest.mark.parametrize(("kind", "value"), [("job", 46), ("chain", 46), ("chord", 46)])
def test_a_chain_goes_on_after_a_replacement(stand: Stand, kind: str, value: object) -> None:
    result = chain(stand.sig("become", kind), stand.sig("add", 40)).apply_async()
    assert result.get(timeout=LONG) == value
    assert stand.ended(result.parent.id).result == 6


@pytest.mark.parametrize("kind", ["job", "chain", "chord"])
def test_a_chord_whose_member_replaces_itself(stand: Stand, kind: str) -> None:
    header = group([stand.sig("become", kind), stand.sig("add", 1, 2)])
    assert chord(header, stand.sig("total")).apply_async().get(timeout=LONG) == 9


def test_a_link_of_a_task_that_replaces_itself(stand: Stand) -> None:
    path, heard = stand.listener("replaced")
    result = stand.sig("become", "chain").apply_async(link=stand.sig("listen", path))
    assert result.get(timeout=LONG) == 6
    wait_until(heard.marks, within=LONG, saying="the callback was called")
    (id,) = heard.starts()
    assert stand.ended(id).args == [6, path]


# ---- a result store that forgets


def test_what_the_result_store_forgot_is_answered_from_the_ledger(stand: Stand) -> None:
    done = chain(stand.sig("add", 1, 2), stand.sig("add", 3)).apply_async()
    failed = stand.sig("fail", "broken").apply_async(max_tries=1)
    whole = group(stand.sig("add", number, 1) for number in range(3)).apply_async()
    waiting = stand.sig("add", 1, 1).apply_async(countdown=3600)
    stand.app.control.revoke(cancelled := stand.sig("add", 1, 1).apply_async(countdown=3600).id)
    for id in (done.id, done.parent.id, failed.id, *(member.id for member in whole.results)):
        stand.ended(id)
    with closing(redis.Redis.from_url(stand.broker)) as client:
        client.flushdb()
    ask: Callable[[str], Any] = stand.app.AsyncResult
    assert (ask(done.id).state, ask(done.id).get(timeout=60)) == ("SUCCESS", 6)
    assert ask(done.parent.id).get(timeout=60) == 3
    assert [ask(member.id).get(timeout=60) for member in whole.results] == [1, 2, 3]
    assert ask(failed.id).state == "FAILURE"
    with pytest.raises(Exception, match="broken"):
        ask(failed.id).get(timeout=60)
    assert ask(waiting.id).state == "PENDING"
    assert ask(cancelled).state == "REVOKED"


def test_who_waits_for_what_is_never_published_is_answered_from_the_ledger(stand: Stand) -> None:
    id = stand.sig("sleep", 1).apply_async(ignore_result=True).id
    assert stand.app.AsyncResult(id).get(timeout=60) is None


def test_an_id_that_nobody_knows(stand: Stand) -> None:
    assert stand.app.AsyncResult(str(uuid4())).state == "UNKNOWN"
    assert stand.app.AsyncResult("no UUID").state == "UNKNOWN"


def test_the_worker_works_on(stand: Stand) -> None:
    assert chord(adds(stand, 1, 2), stand.sig("total")).apply_async().get(timeout=LONG) == 3
    wait_until(
        lambda: not jobs(state=JobState.RUNNING, app=stand.app),
        within=LONG,
        saying="every outcome is written",
    )
