"""A worker that takes signed messages only: all of ours runs, and nothing else that lies in the broker."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
import redis
from celery import chain, chord

import tests.jobs  # noqa: F401  # the producer knows the tasks, too
from celeriac.application import Celeriac
from celeriac.broker import signing, wire
from celeriac.enqueue.bulk import enqueue_many
from celeriac.enqueue.capture import capture_jobs
from celeriac.errors import JobNotFound
from celeriac.ledger.schema.lifecycle import TERMINAL, AttemptKind, JobState
from celeriac.ledger.writes import new_jobs as ledger_jobs
from celeriac.ledger.writes.claims import messages
from celeriac.operate.dead_letters import replay_one
from celeriac.operate.job import Job, job, jobs
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.conftest import _postgres_copy
from tests.signers import Signer, own_serializers, signer
from tests.support import wait_until
from tests.workers import Worker, celery, environment

LONG = 30.0  # seconds: more than anything here takes, on a busy machine


@dataclass
class Stand:
    """A worker on PostgreSQL with a signer, producers, and a broker that anybody writes to."""

    ours: Signer
    outside: Signer  # whose signatures are taken, too
    stranger: Signer
    broker: str
    database: str
    app: Celeriac
    worker: Worker

    def send(self, task: str, *args: Any, **options: Any) -> str:
        return str(self.app.tasks[f"tests.{task}"].apply_async(args, **options).id)

    def ended(self, id: str) -> Job:
        wait_until(lambda: self._is_terminal(id), within=LONG, saying=f"job {id} is terminal")
        assert self.worker.running
        return job(id, app=self.app)

    def result(self, id: str) -> Any:
        found = self.ended(id)
        assert found.state is JobState.COMPLETED, found.failure_info
        return found.result

    def _is_terminal(self, id: str) -> bool:
        assert self.worker.running, "the worker has ended"
        try:
            return job(id, app=self.app).state in TERMINAL
        except JobNotFound:
            return False

    def push(self, body: bytes, *, kind: str = signing.CONTENT_TYPE, task: str = "tests.echo") -> str:
        """Put a foreign producer's message into the broker; its id."""
        id = str(uuid4())
        properties = {"body_encoding": "base64", "delivery_tag": id, "delivery_info": {}}
        self.lpush(
            {
                "body": b64encode(body).decode(),
                "content-type": kind,
                "content-encoding": "utf-8",
                "headers": {"id": id, "task": task},
                "properties": properties,
            }
        )
        return id

    def lpush(self, *messages: dict[str, Any]) -> None:
        with closing(redis.Redis.from_url(self.broker)) as client:
            client.lpush("normal", *map(json.dumps, messages))

    def payload(self, id: str) -> bytes:
        with self.app.database.reading() as connection:
            return messages(connection, [UUID(id)])[UUID(id)].payload


@pytest.fixture(scope="module")
def stand(
    valkey: str,
    _redis_databases: Iterator[int],
    postgres: str,
    _postgres_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stand]:
    broker = urlsplit(valkey)._replace(path=f"/{next(_redis_databases)}").geturl()
    home = tmp_path_factory.mktemp("signers")
    ours = signer(home)
    outside, stranger = signer(home, "outside", store=ours.store), signer(home, "stranger")
    settings = {"retry_base": 0.05} | ours.settings
    with ExitStack() as stack:
        stack.enter_context(own_serializers())
        client = stack.enter_context(closing(redis.Redis.from_url(broker)))
        client.flushdb()
        stack.callback(client.flushdb)
        database = stack.enter_context(_postgres_copy(postgres, _postgres_template))
        app = producer(stack, broker, database, settings)
        worker = stack.enter_context(Worker(broker, database, settings=settings)).ready()
        yield Stand(ours, outside, stranger, broker, database, app, worker)


def producer(stack: ExitStack, broker: str, database: str, settings: dict[str, Any]) -> Celeriac:
    known = {"broker_url": broker, "database_url": database, "task_modules": ("tests.jobs",)}
    app: Celeriac = build(Settings(**known, **settings), set_as_current=False)
    stack.callback(app.database.close)
    stack.callback(app.close)
    return app


def test_what_we_enqueue_runs(stand: Stand) -> None:
    assert stand.result(stand.send("add", 1, 2)) == 3
    assert stand.app.tasks["tests.add"].delay(1, 2).get(timeout=LONG) == 3
    assert stand.send("spawn", 2)
    enqueue_many(stand.app.tasks["tests.noop"], [[], []])
    assert {stand.ended(each.id).state for each in jobs(app=stand.app)} == {JobState.COMPLETED}


def test_a_retry_is_signed_again(stand: Stand) -> None:
    found = stand.ended(stand.send("flaky", 2))
    assert (found.state, found.result, found.try_count) == (JobState.COMPLETED, 2, 3)


def test_a_retry_of_the_same_arguments_leaves_its_row_alone(stand: Stand) -> None:
    """Its signature is another one, which is no reason to write the message anew."""
    id = stand.send("flaky", 1, countdown=0.5)
    before = stand.payload(id)
    assert stand.result(id) == 1
    assert stand.payload(id) == before


def test_workflows_are_signed(stand: Stand) -> None:
    add, total = stand.app.tasks["tests.add"], stand.app.tasks["tests.total"]
    assert stand.result(chain(add.s(1, 2), add.s(4))().id) == 7
    assert stand.result(chord(add.s(n, n) for n in (1, 2, 3))(total.s()).id) == 12


@pytest.mark.parametrize("step", [0, 2])
def test_a_compressed_job_is_retried(step: int, stand: Stand) -> None:
    assert stand.result(stand.send("squeezed", 1, kwargs={"step": step})) == 1 + 2 * step


def test_a_dead_letter_runs_with_other_arguments(stand: Stand) -> None:
    id = stand.send("fail", "once", max_tries=1)
    assert stand.ended(id).state is JobState.FAILED
    id = stand.send("add", 1, "x", max_tries=1)
    assert stand.ended(id).state is JobState.FAILED
    assert replay_one(id, args=[1, 2], app=stand.app)
    assert stand.result(id) == 3


def test_a_producer_outside_signs_with_its_own_key(stand: Stand) -> None:
    assert stand.result(stand.push(stand.outside.sign([[1], {}, {}]))) == [[1], {}]


def refused(stand: Stand, pushed: str) -> str:
    """The dead letter of what is not authenticated: it has an id of its own, and says whose it named."""
    found: list[Job] = []

    def look() -> bool:
        assert stand.worker.running, "the worker has ended"
        failed = jobs(state=JobState.FAILED, app=stand.app)
        found[:] = [each for each in failed if f"it names the job {pushed}" in str(each.failure_info)]
        return bool(found)

    wait_until(look, within=LONG, saying=f"a dead letter that names job {pushed}")
    with pytest.raises(JobNotFound):
        job(pushed, app=stand.app)
    return found[0].id


def dead_letter_of(stand: Stand, id: str, payload: bytes) -> str:
    """Why it was refused."""
    found = stand.ended(id)
    assert found.state is JobState.FAILED
    assert found.result is None
    assert [attempt.kind for attempt in found.attempts] == [AttemptKind.INVALID]
    assert stand.payload(id) == payload
    return str(found.failure_info)


BODY: list[Any] = [[1], {}, {}]


@pytest.mark.parametrize(
    ("forge", "kind", "reason"),
    [
        (lambda stand: json.dumps(BODY).encode(), "application/json", "is not signed but application/json"),
        (lambda stand: json.dumps(BODY).encode(), signing.CONTENT_TYPE, "its signature does not hold"),
        (lambda stand: stand.stranger.sign(BODY), signing.CONTENT_TYPE, "its signature does not hold"),
        (lambda stand: stand.payload(stand.send("echo", 1)), signing.CONTENT_TYPE, "is a copy of a message"),
    ],
    ids=["unsigned", "garbage", "strange", "copied"],
)
def test_a_forged_message_is_a_dead_letter(
    stand: Stand, forge: Callable[[Stand], bytes], kind: str, reason: str
) -> None:
    payload = forge(stand)
    assert reason in dead_letter_of(stand, refused(stand, stand.push(payload, kind=kind)), payload)
    assert stand.result(stand.send("add", 1, 2)) == 3


def sent_with_changes(stand: Stand, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> list[str]:
    """Two jobs, whose messages in the broker are not what their rows say."""
    with capture_jobs() as made:
        ids = [stand.send("echo", n) for n in (1, 2)]
    with stand.app.database.transaction() as connection:
        ledger_jobs.enqueue(connection, made)
    one, other = (json.loads(wire.write(job)) for job in made)
    change(one, other)
    stand.lpush(one, other)
    return ids


def other_bodies(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Signed by us, but each for the other."""
    one["body"], other["body"] = other["body"], one["body"]


def other_tasks(*messages: dict[str, Any]) -> None:
    for message in messages:
        message["headers"]["task"] = "tests.fail"


def other_headers(*messages: dict[str, Any]) -> None:
    """No signature covers this one, and nobody would keep the result."""
    for message in messages:
        message["headers"]["ignore_result"] = True


@pytest.mark.parametrize("change", [other_bodies, other_tasks, other_headers])
def test_what_was_changed_in_the_broker_has_no_effect(
    stand: Stand, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> None:
    ids = sent_with_changes(stand, change)
    assert [stand.result(id) for id in ids] == [[[1], {}], [[2], {}]]


def test_a_row_of_a_producer_without_a_key_is_a_dead_letter(stand: Stand) -> None:
    with ExitStack() as stack:
        without = producer(stack, stand.broker, stand.database, {})
        id = str(without.tasks["tests.echo"].delay(1).id)
    reason = dead_letter_of(stand, id, stand.payload(id))
    assert "its body is not signed but application/json" in reason
    assert stand.result(stand.send("add", 1, 2)) == 3


def told(app: Celeriac, command: str, node: str) -> Sequence[Any]:
    return app.control.broadcast(command, destination=[node], reply=True, timeout=5, limit=1)  # type: ignore[no-any-return]


def test_only_who_signs_commands_a_worker(stand: Stand) -> None:
    with ExitStack() as stack:
        without = producer(stack, stand.broker, stand.database, {})
        without.control.broadcast("shutdown", destination=[stand.worker.node])
    stand.worker.logged("a remote control command was refused", within=LONG)
    assert told(stand.app, "ping", stand.worker.node) == [{stand.worker.node: {"ok": "pong"}}]


@pytest.mark.parametrize(("signs", "status"), [(True, 0), (False, 69)])
def test_whoever_has_no_key_hears_no_worker(stand: Stand, signs: bool, status: int) -> None:
    env = environment(stand.broker, stand.database, stand.ours.settings if signs else {})
    ended = celery("inspect", "ping", "-t", "3", env=env)
    assert ended.returncode == status
    assert ("pong" in ended.stdout, "No nodes replied" in ended.stderr) == (signs, not signs)
    assert "Traceback" not in ended.stderr
