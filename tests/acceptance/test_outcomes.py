"""What real workers make of every outcome: in the ledger, in the result store, in the worker itself.

The jobs of a table are enqueued together when the first test asks, and run side by side; each test then
looks at its own. Prefork on PostgreSQL runs all of them, the other pools and SQLite a part.
"""

from __future__ import annotations

import base64
import json
import pickle
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
import redis
from celery import Celery
from celery.exceptions import MaxRetriesExceededError, TaskRevokedError
from sqlalchemy import text

import tests.jobs  # noqa: F401  # the producer knows the tasks, too
from celeriac.application import Celeriac
from celeriac.enqueue.capture import capture_jobs
from celeriac.errors import JobNotFound
from celeriac.ledger.schema.lifecycle import TERMINAL, AttemptKind, JobState
from celeriac.ledger.writes import new_jobs as ledger_jobs
from celeriac.operate.job import Job, cancel, job, jobs
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.conftest import _postgres_copy
from tests.processes import living
from tests.support import wait_until
from tests.witness import Witness
from tests.workers import Worker

COMPLETED, FAILED, CANCELLED = JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED
ERROR, PENDING = JobState.ERROR, JobState.PENDING

LONG = 30.0  # seconds: more than any job here takes, on a busy machine

CHILDREN = 4  # jobs that a worker runs at once; solo runs one

#: Retries are quick, and the hard time limit follows the soft one soon: a busy child needs a while to obey.
SETTINGS: dict[str, Any] = {"retry_base": 0.05, "timeout_grace": 3}


@dataclass(frozen=True)
class Place:
    """Where jobs are run."""

    pool: str
    database: str

    def __str__(self) -> str:
        return f"{self.pool}-{self.database}"


FULL = [Place("burst", "postgresql"), Place("prefork", "postgresql")]
PART = [
    Place("burst", "sqlite"),
    Place("threads", "postgresql"),
    Place("solo", "sqlite"),
    Place("gevent", "postgresql"),
]


@dataclass
class Stand:
    """A worker and a producer with nothing but a broker and a ledger in common."""

    place: Place
    app: Celeriac
    worker: Worker
    broker: str
    directory: Path
    enqueued: dict[str, str] = field(default_factory=dict)

    @property
    def children(self) -> int:
        return 1 if self.place.pool == "solo" else CHILDREN

    def send(self, task: str, *args: Any, **options: Any) -> str:
        return str(self.app.tasks[f"tests.{task}"].apply_async(args, **options).id)

    def job(self, id: str) -> Job:
        return job(id, app=self.app)

    def ended(self, id: str) -> Job:
        """The job once it is terminal."""
        self.waits_until(lambda: self.job(id).state in TERMINAL, f"job {id} is terminal")
        return self.job(id)

    def reaches(self, id: str, state: JobState) -> Job:
        self.waits_until(lambda: self.job(id).state is state, f"job {id} is {state}")
        return self.job(id)

    def waits_until(self, predicate: Callable[[], object], saying: str) -> None:
        wait_until(lambda: predicate() or not self.worker.running, within=LONG, saying=saying)
        assert self.worker.running, "the worker has ended"

    def push(self, raw: bytes, queue: str = "normal") -> None:
        """Put ``raw`` into a queue as it is, as anybody can."""
        with closing(redis.Redis.from_url(self.broker)) as client:
            client.lpush(queue, raw)

    def stored(self, id: str) -> Any:
        """What the result store says of a job; None when it holds nothing."""
        with closing(redis.Redis.from_url(self.broker)) as client:
            raw = client.get(f"celery-task-meta-{id}")
        return None if raw is None else json.loads(raw)

    def dead_letter(self, raw: bytes) -> Job:
        """The dead letter that holds ``raw``."""
        found: list[str] = []

        def look() -> bool:
            with self.app.database.reading() as connection:
                query = text("SELECT id FROM background_jobs WHERE payload = :raw").bindparams(raw=raw)
                found.extend(str(UUID(str(row.id))) for row in connection.execute(query))
            return bool(found)

        self.waits_until(look, f"a row holds {raw[:40]!r}")
        return self.ended(found[0])


@pytest.fixture(scope="module", params=[*FULL, *PART], ids=str)
def stand(
    request: pytest.FixtureRequest,
    valkey: str,
    _redis_databases: Iterator[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stand]:
    place: Place = request.param
    directory = tmp_path_factory.mktemp(str(place))
    broker = urlsplit(valkey)._replace(path=f"/{next(_redis_databases)}").geturl()
    with ExitStack() as stack:
        client = stack.enter_context(closing(redis.Redis.from_url(broker)))
        client.flushdb()
        stack.callback(client.flushdb)
        if place.database == "sqlite":
            template: Path = request.getfixturevalue("_sqlite_template")
            database = f"sqlite:///{directory / 'ledger.db'}"
            (directory / "ledger.db").write_bytes(template.read_bytes())
        else:
            given = [request.getfixturevalue(name) for name in ("postgres", "_postgres_template")]
            database = stack.enter_context(_postgres_copy(*given))
        known = {"broker_url": broker, "database_url": database, "task_modules": ("tests.jobs",)}
        app = build(Settings(**known, **SETTINGS), set_as_current=False)
        stack.callback(app.close)
        stack.callback(app.database.close)
        worker = Worker(
            broker,
            database,
            pool=place.pool,
            concurrency=CHILDREN,
            settings=SETTINGS,
        )
        yield Stand(place, app, stack.enter_context(worker).ready(), broker, directory)


fully = pytest.mark.parametrize("stand", FULL, indirect=True, ids=str)


# ---- the table


@dataclass(frozen=True, kw_only=True)
class Case:
    """A job and what is to become of it.

    Attributes:
        kinds: of the unsuccessful attempts, the earliest first.
        error: what the exception of the last unsuccessful attempt is called, and a part of its text.
        raises: what ``.get()`` raises.
    """

    task: str
    args: Sequence[Any] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    state: JobState = COMPLETED
    result: Any = None
    kinds: Sequence[AttemptKind] = ()
    error: tuple[str, str] | None = None
    frame: str | None = None
    raises: type[BaseException] | None = None
    everywhere: bool = True


_ERROR, _TIMEOUT = AttemptKind.ERROR, AttemptKind.TIMEOUT
_LOST, _REJECTED = AttemptKind.LOST, AttemptKind.REJECTED
_ONE_TRY, _TWO_TRIES = {"max_tries": 1}, {"max_tries": 2}

CASES = {
    "a success": Case(task="add", args=(2, 3), result=5),
    "a success whose result is ignored": Case(task="noop"),
    "an attempt that fails is tried again": Case(
        task="flaky",
        args=(2,),
        result=2,
        kinds=[_ERROR, _ERROR],
        error=("ConnectionError", "attempt 1 of 2 that fail"),
        frame="jobs.py:flaky",
    ),
    "a task on a class of its own": Case(task="flask", args=(1,), result=1, kinds=[_ERROR]),
    "a task with a request of its own": Case(task="own_request", args=(1,), result=1, kinds=[_ERROR]),
    "a task with a strategy of its own": Case(task="batches", args=(1,), everywhere=False),
    "the last try fails": Case(
        task="fail",
        args=("no luck",),
        options={"max_tries": 3},
        state=FAILED,
        kinds=[_ERROR] * 3,
        error=("ValueError", "no luck"),
        frame="jobs.py:fail",
        raises=ValueError,
    ),
    "retry with other positional arguments": Case(
        task="retry_with", args=(1, 2), result=3, kinds=[_ERROR] * 2
    ),
    "retry from a block that gathers jobs": Case(
        task="retry_in_a_block", args=(1,), result=2, kinds=[_ERROR], everywhere=False
    ),
    "retry with other keyword arguments": Case(task="retry_kwargs", args=(7,), result=[7, 2], kinds=[_ERROR]),
    "retry of a compressed job": Case(
        task="squeezed", args=(1,), result=1, kinds=[_ERROR] * 3, everywhere=False
    ),
    "retry of a compressed job with other arguments": Case(
        task="squeezed",
        args=(1,),
        options={"kwargs": {"step": 2}},
        result=5,
        kinds=[_ERROR] * 3,
        everywhere=False,
    ),
    "retry without leaving the task": Case(task="retry_no_throw", result="the retry", kinds=[_ERROR]),
    "retry up to max_retries of the task": Case(
        task="retry_for_ever",
        state=FAILED,
        kinds=[_ERROR] * 3,
        error=("ValueError", "not yet"),
        raises=ValueError,
    ),
    "retry up to a lower max_retries of the call": Case(
        task="retry_up_to",
        args=(1,),
        state=FAILED,
        kinds=[_ERROR] * 2,
        error=("celery.exceptions.MaxRetriesExceededError", ""),
        raises=MaxRetriesExceededError,
    ),
    "retry up to a higher max_retries of the call": Case(
        task="retry_up_to",
        args=(6,),
        state=FAILED,
        kinds=[_ERROR] * 7,
        error=("celery.exceptions.MaxRetriesExceededError", ""),
        raises=MaxRetriesExceededError,
        everywhere=False,
    ),
    "autoretry_for retries what it names": Case(
        task="autoretry",
        args=("ConnectionError",),
        options=_TWO_TRIES,
        state=FAILED,
        kinds=[_ERROR] * 2,
        error=("ConnectionError", "failed on purpose"),
        frame="jobs.py:autoretry",
        raises=ConnectionError,
    ),
    "autoretry_for does not retry what it does not name": Case(
        task="autoretry",
        args=("ValueError",),
        state=FAILED,
        kinds=[_ERROR],
        error=("ValueError", "failed on purpose"),
        raises=ValueError,
    ),
    "dont_autoretry_for wins over autoretry_for": Case(
        task="autoretry", args=("FileNotFoundError",), state=FAILED, kinds=[_ERROR], raises=FileNotFoundError
    ),
    "retry_kwargs limit the retries of autoretry_for": Case(
        task="autoretry_once", state=FAILED, kinds=[_ERROR] * 2, raises=OSError
    ),
    "dont_autoretry_for alone retries the others": Case(
        task="no_retry_for",
        args=("ValueError",),
        options=_TWO_TRIES,
        state=FAILED,
        kinds=[_ERROR] * 2,
        raises=ValueError,
    ),
    "dont_autoretry_for alone is final": Case(
        task="no_retry_for", args=("KeyError",), state=FAILED, kinds=[_ERROR], raises=KeyError
    ),
    "Ignore": Case(task="ignore"),
    "Reject": Case(
        task="reject",
        args=(False,),
        state=FAILED,
        kinds=[_REJECTED],
        error=("celery.exceptions.Reject", "on purpose"),
    ),
    "Reject with requeue, for ever": Case(
        task="reject", args=(True,), options={"max_tries": 3}, state=FAILED, kinds=[_REJECTED] * 3
    ),
    "sys.exit()": Case(task="exit", options=_TWO_TRIES, state=FAILED, kinds=[_ERROR] * 2),
    "sys.exit(3)": Case(task="exit", args=(3,), options=_ONE_TRY, state=FAILED, kinds=[_ERROR]),
    **{
        f"a BaseException: {name}": Case(
            task="leave", args=(name,), options=_TWO_TRIES, state=FAILED, kinds=[_ERROR] * 2
        )
        for name in ("CancelledError", "GeneratorExit", "Own")
    },
    "MemoryError": Case(
        task="memory_error",
        options=_TWO_TRIES,
        state=FAILED,
        kinds=[_ERROR] * 2,
        error=("MemoryError", "on purpose"),
    ),
    "a result that is no JSON": Case(
        task="unserialisable_result", options=_ONE_TRY, state=FAILED, kinds=[_ERROR]
    ),
    "an exception that cannot be pickled": Case(
        task="unpicklable_error",
        options=_TWO_TRIES,
        state=FAILED,
        kinds=[_ERROR] * 2,
        error=("tests.jobs.Unpicklable", "holds a file"),
        frame="jobs.py:unpicklable_error",
    ),
    "an exception without text": Case(
        task="str_raises",
        options=_TWO_TRIES,
        state=FAILED,
        kinds=[_ERROR] * 2,
        error=("tests.jobs.Unprintable", "RuntimeError"),
    ),
    "an exception of 10 MB": Case(
        task="huge_error", options=_TWO_TRIES, state=FAILED, kinds=[_ERROR] * 2, error=("ValueError", "xxx")
    ),
    "an exception that the database refuses": Case(
        task="nasty_error",
        options=_TWO_TRIES,
        state=FAILED,
        kinds=[_ERROR] * 2,
        error=("ValueError", "lone surrogate"),
    ),
    "text that the database refuses": Case(
        task="echo", args=("nul \x00, surrogate \ud800",), result=[["nul \x00, surrogate \ud800"], {}]
    ),
    "an expiry in the past": Case(
        task="add",
        args=(1, 1),
        options={"expires": datetime(2020, 1, 1, tzinfo=UTC)},
        state=CANCELLED,
        raises=TaskRevokedError,
    ),
    "an expiry before it is due": Case(
        task="add",
        args=(1, 1),
        options={"countdown": 2, "expires": 1},
        state=CANCELLED,
        raises=TaskRevokedError,
    ),
    "a soft time limit": Case(
        task="hang",
        options={"timeout": 1, "max_tries": 2},
        state=FAILED,
        kinds=[_TIMEOUT] * 2,
        error=("billiard.exceptions.SoftTimeLimitExceeded", ""),
        frame="jobs.py:hang",
        everywhere=False,
    ),
    "a hard time limit": Case(
        task="hang",
        args=(True,),
        options={"timeout": 1, "max_tries": 2},
        state=FAILED,
        kinds=[_TIMEOUT] * 2,
        error=("billiard.exceptions.TimeLimitExceeded", ""),
        everywhere=False,
    ),
    "Celery's own soft time limit": Case(
        task="hang",
        options={"soft_time_limit": 1, "max_tries": 1},
        state=FAILED,
        kinds=[_TIMEOUT],
        everywhere=False,
    ),
    "a lost child": Case(
        task="kill_self",
        args=(int(signal.SIGKILL),),
        options=_TWO_TRIES,
        state=FAILED,
        kinds=[_LOST] * 2,
        everywhere=False,
    ),
    "a lost child, once": Case(task="kill_once", result=1, kinds=[_LOST], everywhere=False),
    "a child that leaves at once": Case(
        task="hard_exit", options=_ONE_TRY, state=FAILED, kinds=[_LOST], everywhere=False
    ),
}


@pytest.fixture
def enqueued(stand: Stand) -> dict[str, str]:
    """The jobs of the table by name; all of them are enqueued when the first is asked for."""
    if not stand.enqueued:
        wanted = {name: case for name, case in CASES.items() if case.everywhere or stand.place in FULL}
        sent = {name: stand.send(case.task, *case.args, **case.options) for name, case in wanted.items()}
        stand.enqueued.update(sent)
    return stand.enqueued


def check(stand: Stand, case: Case, id: str) -> None:
    found = stand.ended(id)
    assert (found.state, found.result) == (case.state, case.result)
    assert [attempt.kind for attempt in found.attempts] == list(case.kinds)
    assert [attempt.attempt for attempt in found.attempts] == list(range(1, len(case.kinds) + 1))
    if case.state is not CANCELLED:
        assert found.try_count == len(case.kinds) + (case.state is COMPLETED)
    if case.error:
        kind, text = case.error
        last = found.attempts[-1]
        assert last.exception_type == kind
        assert text in (last.exception or "")
        assert len(last.exception or "") < 10_000
    if case.frame:
        assert found.attempts[-1].frame == case.frame
        assert case.frame.partition(":")[2] in (found.attempts[-1].traceback or "")
    if case.raises:
        with pytest.raises(case.raises):
            stand.app.AsyncResult(id).get(timeout=60)
    elif case.state is COMPLETED:
        assert stand.app.AsyncResult(id).get(timeout=60) == case.result


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.everywhere])
def test_everywhere(stand: Stand, enqueued: dict[str, str], name: str) -> None:
    check(stand, CASES[name], enqueued[name])


@fully
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.everywhere])
def test_in_processes(stand: Stand, enqueued: dict[str, str], name: str) -> None:
    check(stand, CASES[name], enqueued[name])


# ---- what waits


def test_a_failed_attempt_waits_for_the_next(stand: Stand) -> None:
    """Two minutes by default, and the waiting `.get()` does not hear of it."""
    id = stand.send("fail_patiently")
    found = stand.reaches(id, ERROR)
    assert found.try_count == 1
    assert found.attempts[0].kind == _ERROR
    assert (
        timedelta(seconds=119)
        < found.next_attempt_after - found.attempts[0].finished
        < timedelta(seconds=133)
    )
    assert stand.app.AsyncResult(id).state == "RETRY"


WAITING_CASES = {
    "countdown": ("retry_in", (77,), 77),
    "retry_backoff": ("autoretry_backoff", (), 50),
}


@pytest.mark.parametrize("name", WAITING_CASES)
def test_the_wait_that_the_task_asks_for(stand: Stand, name: str) -> None:
    task, args, seconds = WAITING_CASES[name]
    found = stand.reaches(stand.send(task, *args), ERROR)
    assert abs((found.next_attempt_after - found.attempts[0].finished).total_seconds() - seconds) < 1


def test_a_countdown_is_waited_for_in_the_ledger(stand: Stand) -> None:
    id = stand.send("add", 1, 1, countdown=1)
    assert stand.job(id).dispatched is None
    found = stand.ended(id)
    assert found.started is not None
    assert timedelta(0) <= found.started - found.next_attempt_after < timedelta(seconds=1)


# ---- stopped by somebody


@fully
def test_a_revoked_job_never_starts(stand: Stand) -> None:
    path = stand.directory / "revoked"
    id = stand.send("witness", str(path), countdown=1)
    stand.app.control.revoke(id)
    found = stand.ended(id)
    assert found.state is CANCELLED
    assert found.try_count == 0
    assert not path.exists()
    with pytest.raises(TaskRevokedError):
        stand.app.AsyncResult(id).get(timeout=60)


@fully
def test_a_key_whose_job_was_revoked_may_be_used_again(stand: Stand) -> None:
    """Although workers keep in mind for hours what was revoked."""
    id = stand.send("echo", 1, idempotency_key="revoked once", countdown=60)
    stand.app.control.revoke(id)
    assert stand.ended(id).state is CANCELLED
    assert stand.send("echo", 1, idempotency_key="revoked once") == id
    assert stand.ended(id).state is COMPLETED


@fully
def test_a_job_that_waits_for_a_rate_limit_is_cancelled(stand: Stand) -> None:
    for _ in range(2):  # kombu below 5.7 lets two pass when nobody has come for a while
        assert stand.ended(stand.send("seldom")).state is COMPLETED
    waits = stand.send("seldom")
    stand.reaches(waits, JobState.RUNNING)
    assert cancel(waits, hard=True, app=stand.app)
    assert stand.ended(waits).state is CANCELLED


@fully
def test_jobs_that_wait_for_a_rate_limit_hold_nobody_up(stand: Stand) -> None:
    """Those that begin soon wait in Celery's bucket, the others in the ledger; neither holds a child."""
    limited = [stand.send("seldom") for _ in range(12)]
    stand.waits_until(
        lambda: sum(stand.job(id).next_attempt_after > stand.job(id).queued for id in limited) > 6,
        "most of them were given back",
    )
    for number in range(2 * CHILDREN):
        assert stand.ended(stand.send("echo", number, priority="critical")).state is COMPLETED
    assert {stand.job(id).try_count for id in limited if stand.job(id).state is PENDING} == {0}
    for id in limited:
        cancel(id, hard=True, app=stand.app)
    assert CANCELLED in {stand.ended(id).state for id in limited}, "they would all have run first"


@fully
def test_a_running_job_is_terminated(stand: Stand) -> None:
    """Also one that has tries left, and for good."""
    path = stand.directory / "terminated"
    id = stand.send("hang", False, str(path))
    marks = Witness(path)
    stand.waits_until(marks.marks, "the job runs")
    child = marks.marks()[0].pid
    stand.app.control.revoke(id, terminate=True)
    found = stand.ended(id)
    assert found.state is CANCELLED
    assert [attempt.kind for attempt in found.attempts] == [AttemptKind.CANCELLED]
    stand.waits_until(lambda: not living([child]), "the child is gone")
    with pytest.raises(TaskRevokedError):
        stand.app.AsyncResult(id).get(timeout=60)
    assert stand.job(id) == found
    assert stand.stored(id)["status"] == "REVOKED"


@pytest.mark.parametrize("stand", [*FULL, *PART[1:3]], indirect=True, ids=str)
def test_a_job_that_expires_behind_a_busy_worker_never_starts(stand: Stand) -> None:
    """Also when it was claimed in time, as a worker does that has seen short jobs: it waits for a child."""
    path = stand.directory / "expired"
    for id in [stand.send("noop") for _ in range(100)]:
        stand.ended(id)
    for _ in range(stand.children):
        stand.send("sleep", 2)
    id = stand.send("witness", str(path), expires=1)
    found = stand.ended(id)
    assert found.state is CANCELLED
    assert "expired" in (found.failure_info or "")
    assert not path.exists()


# ---- deliveries that nobody sent, or that were damaged on their way


def message(
    task: object = "tests.echo",
    arguments: object = None,
    *,
    headers: object = None,
    without: Sequence[str] = (),
    **envelope: Any,
) -> dict[str, Any]:
    """A message as a plain Celery producer leaves it in Redis, but for what is said.

    Args:
        arguments: the body; bytes are taken as they are.
        headers: some of them, or something else in their place.
        without: keys of the envelope that it lacks.
    """
    id = str(uuid4())
    body = [[id], {}, {}] if arguments is None else arguments
    made: dict[str, Any] = {
        "body": base64.b64encode(body if isinstance(body, bytes) else json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": id, "root_id": id, "retries": 0},
        "properties": {
            "correlation_id": id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "normal"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }
    if headers is not None:
        made["headers"] = made["headers"] | headers if isinstance(headers, dict) else headers
    return {key: value for key, value in (made | envelope).items() if key not in without}


def whole(raw: bytes) -> tuple[bytes, bytes]:
    """What is pushed, and all of it is kept."""
    return raw, raw


def bodily(*args: Any, **options: Any) -> tuple[bytes, bytes]:
    """A message that is pushed, and its body, which is kept."""
    made = message(*args, **options)
    return json.dumps(made).encode(), base64.b64decode(made["body"])


_PICKLE = pickle.dumps(((1, 2), {}, {}))

GARBAGE: dict[str, tuple[bytes, bytes]] = {
    "bytes": whole(b"\xff\x00\xfe garbage"),
    "nothing": whole(b""),
    "text": whole(b"hello"),
    "a number": whole(b"42"),
    "null": whole(b"null"),
    "a list": whole(b'["a list"]'),
    "another's JSON": whole(b'{"event": "signed up", "user": 1}'),
    "a truncated message": whole(json.dumps(message()).encode()[:-40]),
    "a message and a half": whole(json.dumps(message()).encode() + b'{"body'),
    "JSON that is nested too deep": whole(b"[" * 100_000),
    "no properties": whole(json.dumps(message(without=["properties"])).encode()),
    "a body that is not base64": (json.dumps(message(body="!!not base64!!")).encode(), b"!!not base64!!"),
    "a body that is a number": (json.dumps(message(body=777)).encode(), b"777"),
    "a body that is not JSON": bodily(arguments=b"{not json"),
    "a body that is not a list": bodily(arguments={"not": "a list"}),
    "a body of two": bodily(arguments=[[1], {}]),
    "args that are no list": bodily(arguments=["ab", {}, {}]),
    "kwargs that are no mapping": bodily(arguments=[[1, 2], [3], {}]),
    "options that are no mapping": bodily(arguments=[[1, 2], {}, [3]]),
    "a pickle": bodily(
        arguments=_PICKLE, **{"content-type": "application/x-python-serialize", "content-encoding": "binary"}
    ),
    "an unknown content type": bodily(**{"content-type": "application/x-unknown"}),
    "no content type": bodily(without=["content-type"]),
    "no headers": bodily(without=["headers"]),
    "headers that are a list": bodily(headers=[1]),
    "an id with a line break": bodily(headers={"id": "4\n2"}),
    "an id that is a list": bodily(headers={"id": [1]}),
    "no task": bodily(headers={"task": None}),
    "a task that is a list": bodily(headers={"task": ["tests.echo"]}),
    "a task with a NUL in its name": bodily("tests.\x00echo"),
    "a task with a long name": bodily("x" * 300),
    "an eta that is no time": bodily(headers={"eta": "tomorrow"}),
    "an unknown compression": bodily(headers={"compression": "application/x-unknown"}),
    "a compression that is a lie": bodily(headers={"compression": "application/x-gzip"}),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_cannot_be_read_is_kept(stand: Stand, name: str) -> None:
    """With its raw bytes, as a dead letter that says why; the worker goes on."""
    raw, kept = GARBAGE[name]
    stand.push(raw)
    found = stand.dead_letter(kept)
    assert found.state is FAILED
    assert found.queue == "normal"
    assert [(attempt.attempt, attempt.kind) for attempt in found.attempts] == [(0, AttemptKind.INVALID)]
    assert found.attempts[0].exception
    assert (found.failure_info or "").startswith("invalid: ")


def test_a_damaged_copy_of_our_own_message_runs_from_its_row(stand: Stand) -> None:
    damages: list[dict[str, Any]] = [
        {"body": "!!not base64!!"},
        {"content-type": "application/x-unknown"},
        {"body": base64.b64encode(b"{not json").decode()},
        {"body": base64.b64encode(b"[[], {}]").decode()},
    ]
    with capture_jobs() as made:
        for number, _ in enumerate(damages):
            stand.send("add", number, 1)
    with stand.app.database.transaction() as connection:
        ledger_jobs.enqueue(connection, made)
    for row, damage in zip(made, damages, strict=True):
        headers = dict(row.headers) | {"celeriac": {"dispatch": 1}}
        stand.push(json.dumps(message(headers=headers, **damage)).encode())
    assert [stand.ended(str(row.id)).result for row in made] == [1, 2, 3, 4]


@fully
@pytest.mark.parametrize("waiting", [False, True], ids=["for a free child", "behind busy children"])
def test_a_job_that_the_pool_cannot_be_given_costs_no_place(stand: Stand, waiting: bool) -> None:
    """More of them than there are children: rows of another version, for the door refuses such headers."""
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    odd = [{"tenant": deep}] * (CHILDREN + 1) + [{"timelimit": [1]}, {"timelimit": ["soon", None]}]
    for id in [stand.send("noop") for _ in range(20)]:  # so that jobs are claimed ahead of free children
        stand.ended(id)
    with capture_jobs() as made:
        for _ in odd:
            stand.send("add", 1, 1)
    rows = [replace(job, headers=dict(job.headers) | headers) for job, headers in zip(made, odd, strict=True)]
    if waiting:
        for _ in range(CHILDREN):
            stand.send("sleep", 1)
    with stand.app.database.transaction() as connection:
        ledger_jobs.enqueue(connection, [row.unsent() for row in rows])
    for row in rows:
        found = stand.ended(str(row.id))
        assert (found.state, found.attempts[-1].kind) == (FAILED, AttemptKind.INVALID)
    for id in [stand.send("add", number, 1) for number in range(2 * CHILDREN)]:
        assert stand.ended(id).state is COMPLETED
    reserved = stand.app.control.inspect(timeout=2).reserved() or {}
    assert [job["id"] for jobs in reserved.values() for job in jobs] == []


def test_a_message_without_a_row_is_dropped(stand: Stand) -> None:
    """It was pruned, or rolled back; what is stamped is never adopted."""
    lost = message(headers={"celeriac": {"dispatch": 1}})
    stand.push(json.dumps(lost).encode())
    assert stand.ended(stand.send("add", 1, 1)).result == 2  # came later, so the other was seen
    with pytest.raises(JobNotFound):
        stand.job(lost["headers"]["id"])


@pytest.fixture
def plain(stand: Stand) -> Iterator[Celery]:
    """A producer of somebody else's, which knows nothing of a ledger."""
    producer = Celery("plain", broker=stand.broker, set_as_current=False)
    yield producer
    producer.close()


def test_a_plain_producer_is_adopted(stand: Stand, plain: Celery) -> None:
    path = stand.directory / "adopted"
    plain.send_task("tests.witness", (str(path),), queue="normal")
    id = plain.send_task("tests.add", (1, 2), queue="high").id
    stand.waits_until(lambda: Witness(path).ends(), "the first one ran")
    assert set(Witness(path).ends().values()) == {1}
    stand.waits_until(lambda: _exists(stand, id), "the second one has a row")
    found = stand.ended(id)
    assert (found.state, found.result, found.queue, found.priority, found.args) == (
        COMPLETED,
        3,
        "high",
        20,
        [1, 2],
    )


def test_a_plain_producers_delay_is_kept(stand: Stand, plain: Celery) -> None:
    sent = datetime.now(UTC)  # the row may be made late, and knows only when
    id = plain.send_task("tests.add", (1, 2), queue="normal", countdown=1).id
    stand.waits_until(lambda: _exists(stand, id), "it has a row")
    found = stand.ended(id)
    assert (found.state, found.result) == (COMPLETED, 3)
    assert found.started is not None
    assert found.started - sent > timedelta(seconds=0.9)


def test_a_plain_producers_retry_is_one_job(stand: Stand, plain: Celery) -> None:
    id = plain.send_task("tests.flaky", (1,), queue="normal").id
    stand.waits_until(lambda: _exists(stand, id), "it has a row")
    found = stand.ended(id)
    assert (found.state, found.result, found.try_count) == (COMPLETED, 1, 2)


def test_wrong_arguments_of_a_plain_producer_are_an_error(stand: Stand, plain: Celery) -> None:
    id = plain.send_task("tests.add", (1,), queue="normal").id
    stand.waits_until(lambda: _exists(stand, id), "it has a row")
    found = stand.ended(id)
    assert found.state is FAILED
    assert {attempt.kind for attempt in found.attempts} == {_ERROR}
    assert found.attempts[-1].exception_type == "TypeError"


@fully
def test_a_plain_producers_time_limit_that_is_no_number_ends_no_worker(stand: Stand, plain: Celery) -> None:
    id = plain.send_task("tests.add", (1, 2), queue="normal", time_limit="soon").id
    stand.waits_until(lambda: _exists(stand, id), "it has a row")
    found = stand.ended(id)
    assert (found.state, found.try_count) == (FAILED, 0)
    assert "time_limit: wanted seconds" in (found.failure_info or "")
    id = plain.send_task("tests.add", (1, 2), queue="normal", time_limit=0, soft_time_limit=0).id
    stand.waits_until(lambda: _exists(stand, id), "it has a row")
    assert stand.ended(id).result == 3


def test_an_unknown_task_waits_for_a_worker_that_knows_it(stand: Stand, plain: Celery) -> None:
    id = plain.send_task("tests.of_the_next_release", (1,), queue="normal").id
    stand.waits_until(lambda: _exists(stand, id), "it has a row")
    found = stand.job(id)
    assert (found.state, found.try_count, found.dispatched, found.args) == (PENDING, 0, None, [1])
    assert timedelta(seconds=25) < found.next_attempt_after - found.queued < timedelta(seconds=35)
    assert "unknown" in (found.failure_info or "")


def _exists(stand: Stand, id: str) -> bool:
    try:
        return bool(stand.job(id))
    except JobNotFound:
        return False


# ---- afterwards


def test_the_result_is_in_the_store_and_in_the_row(stand: Stand) -> None:
    id = stand.send("add", 20, 22)
    assert stand.ended(id).result == 42
    meta = wait_until(lambda: stand.stored(id), within=LONG, saying="its result is stored")
    assert (meta["status"], meta["result"]) == ("SUCCESS", 42)


def test_nothing_is_left_over(stand: Stand, enqueued: dict[str, str]) -> None:
    """The worker that saw all of it still works, and nobody holds a job."""
    for id in enqueued.values():
        stand.ended(id)
    assert stand.ended(stand.send("add", 1, 1)).result == 2
    stand.waits_until(lambda: not jobs(state=JobState.RUNNING, app=stand.app), "nobody holds a job")
    stand.worker.term()
    assert stand.worker.wait(30) == 0
