"""Which message is a row's own, and what an id or a key means that is used again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine, delete, update
from sqlalchemy.orm import Session

import tests.jobs  # noqa: F401
from celeriac.application import Celeriac
from celeriac.broker.transport import Message, _decoded
from celeriac.broker.wire import STAMP
from celeriac.enqueue.bulk import Call, enqueue_many
from celeriac.enqueue.pending import collecting
from celeriac.enqueue.transactions import enqueue_in
from celeriac.factory import build
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep.worker_rows import WorkerStart, sign_on
from celeriac.ledger.writes import outcomes
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.operate.job import jobs
from celeriac.settings import Settings
from celeriac.worker.counters import Meter
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.turn import Turn, TurnCallbacks
from celeriac.worker.gate.turn_input import TurnInput
from celeriac.worker.watermarks import Watermarks

WORKER = UUID(int=7)


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    settings = Settings(broker_url=redis_url, database_url=database_url, task_modules=("tests.jobs",))
    made: Celeriac = build(settings, set_as_current=False)
    with closing(made.database), closing(made):
        yield made


@pytest.fixture
def echo(app: Celeriac) -> Any:
    return app.tasks["tests.echo"]


@pytest.fixture
def session(app: Celeriac) -> Iterator[Session]:
    engine = create_engine(app.settings.database)
    with Session(engine) as session:
        yield session
    engine.dispose()


class Gate:
    """What a worker draws from the queue ``normal``, claims, and would run."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._won: list[Any] = []
        self.book = ClaimBook()
        self._turn = Turn(
            app.database,
            worker=WORKER,
            book=self.book,
            tasks=app.tasks,
            max_tries=5,
            watermarks=Watermarks(10.0),
            callbacks=TurnCallbacks(
                hand_over=self._won.extend,
                drop=lambda _: None,
                fetch_results=lambda _: {},
                on_change=lambda: None,
            ),
            meter=Meter(),
        )
        start = WorkerStart(
            id=WORKER, hostname="here", pid=1, pool="solo", concurrency=1, queues=[], tasks="", version=""
        )
        with app.database.transaction() as connection:
            sign_on(connection, start)

    def drawn(self) -> list[bytes]:
        """The messages that lie there, the first to be drawn first; they are gone then."""
        with self._app.connection_for_read() as connection:
            client = connection.default_channel.client
            found: list[bytes] = client.lrange("normal", 0, -1)
            client.delete("normal")
        return found[::-1]

    def ran(self, texts: list[bytes]) -> list[Any]:
        """The positional arguments with which these messages run."""
        with self._app.connection_for_read() as connection:
            channel = connection.default_channel
            for text in texts:
                message = Message(_decoded(text, "normal"), channel=channel)
                self._turn.take(TurnInput(arrived=[message]), room=1)
        for message in self._won:
            message.accept = {"application/json"}
        ran = [message.decode()[0] for message in self._won]
        self._won.clear()
        return ran


@pytest.fixture
def gate(app: Celeriac) -> Gate:
    return Gate(app)


def _untagged(text: bytes) -> bytes:
    """A message as an older version sends it."""
    message = json.loads(text)
    message["headers"][STAMP] = {"dispatch": message["headers"][STAMP]["dispatch"]}
    return json.dumps(message).encode()


# ---- a message and its row


@pytest.mark.parametrize("name", ["idempotency_key", "task_id"])
def test_a_message_of_a_savepoint_that_was_rolled_back_is_not_the_next_rows(
    echo: Any, gate: Gate, session: Session, name: str
) -> None:
    same = {name: str(uuid4())}
    with enqueue_in(session, app=echo.app):
        echo.delay("first")  # on SQLite, savepoints alone begin nothing
        with pytest.raises(LookupError), session.begin_nested():
            echo.apply_async(("rolled back",), **same)
            raise LookupError
        echo.apply_async(("committed",), **same)
        session.commit()
    assert gate.ran(gate.drawn()) == [["first"], ["committed"]]


def test_a_message_of_a_row_that_was_deleted_is_not_the_next_rows(
    app: Celeriac, echo: Any, gate: Gate
) -> None:
    id = echo.apply_async(("deleted",), idempotency_key="k").id
    with app.database.transaction() as connection:
        connection.execute(delete(JOBS).where(JOBS.c.id == UUID(id)))
    old = gate.drawn()
    echo.apply_async(("now",), idempotency_key="k")
    assert gate.ran(old + gate.drawn()) == [["now"]]


def test_a_message_of_a_bulk_is_not_the_next_rows(app: Celeriac, echo: Any, gate: Gate) -> None:
    enqueue_many(echo, [["a"], ["deleted"]])
    old = gate.drawn()
    (id,) = [UUID(found.id) for found in jobs(app=app) if found.args == ["deleted"]]
    with app.database.transaction() as connection:
        connection.execute(delete(JOBS).where(JOBS.c.id == id))
    echo.apply_async(("now",), task_id=str(id))
    assert gate.ran(old) == [["a"], ["now"]]


def test_many_messages_are_their_rows_own(app: Celeriac, echo: Any, gate: Gate) -> None:
    """Or every job of a bulk would be read once more."""
    enqueue_many(echo, [["a"], ["b"]])
    enqueue_many(echo, [Call(["c"], idempotency_key="c"), Call(["d"], {"x": 1})])
    texts = gate.drawn()
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).values(payload=b"[]"))  # what would be read
    assert gate.ran(texts) == [["a"], ["b"], ["c"], ["d"]]


def test_an_old_copy_does_not_run_what_a_retry_has_changed(app: Celeriac, echo: Any, gate: Gate) -> None:
    id = UUID(echo.delay("before").id)
    copy = gate.drawn()
    assert gate.ran(copy) == [["before"]]
    with collecting() as made:
        echo.apply_async(("after",), task_id=str(id))
    failure = Failure(AttemptKind.ERROR, "ValueError")
    outcome = Outcome(id=id, attempt=1, state=JobState.ERROR, failure=failure, message=made[0])
    with app.database.transaction() as connection:
        outcomes.record(connection, [outcome], worker=WORKER)
    gate.book.leave(id)
    assert gate.ran(copy) == [["after"]]


def test_a_message_of_an_older_version_is_known_by_its_count(app: Celeriac, echo: Any, gate: Gate) -> None:
    echo.delay("ours")
    (text,) = gate.drawn()
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).values(message_tag=None, payload=b"[]"))
    assert gate.ran([_untagged(text)]) == [["ours"]]


def test_a_message_of_an_older_version_runs_what_its_row_says(app: Celeriac, echo: Any, gate: Gate) -> None:
    echo.delay("ours")
    (text,) = gate.drawn()
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).values(payload=b'[["the row\'s"], {}, {}]'))
    assert gate.ran([_untagged(text)]) == [["the row's"]]
