"""Signed messages in ledger and broker: written by the door, read by operators, sealed anew where edited."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from celery import chord, group
from sqlalchemy import update

import tests.jobs  # noqa: F401
from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.broker import signing
from celeriac.enqueue.bulk import Call, enqueue_many
from celeriac.errors import BadArgument
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes.claims import Message, messages
from celeriac.operate.dead_letters import replay_one
from celeriac.operate.job import Job, job, jobs
from celeriac.schedules.firing import fire_due
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.commands import call, said
from tests.signers import Signer, own_serializers, signer
from tests.workers import celery, environment

HIDDEN = "hunter2"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return signer(tmp_path_factory.mktemp("signers"))


class House:
    """Producers with one ledger and one broker: some sign, some do not."""

    def __init__(self, broker: str, database: str, stack: ExitStack) -> None:
        self._known: dict[str, Any] = {"broker_url": broker, "database_url": database}
        self._broker = broker
        self._stack = stack

    def app(self, of: Signer | None) -> Celeriac:
        known = self._known | (of.settings if of else {})
        made: Celeriac = build(Settings(**known, task_modules=("tests.jobs",)), set_as_current=False)
        self._stack.callback(made.database.close)
        self._stack.callback(made.close)
        return made

    def in_broker(self) -> list[dict[str, Any]]:
        with closing(redis.Redis.from_url(self._broker)) as client:
            return [json.loads(text) for text in reversed(client.lrange("normal", 0, -1))]


@pytest.fixture
def house(redis_url: str, database_url: str) -> Iterator[House]:
    with ExitStack() as stack:
        stack.enter_context(own_serializers())
        yield House(redis_url, database_url, stack)


@pytest.fixture
def app(house: House, ours: Signer) -> Celeriac:
    return house.app(ours)


def row(app: Celeriac, id: str) -> Message:
    with app.database.reading() as connection:
        return messages(connection, [UUID(id)])[UUID(id)]


def is_signed(app: Celeriac, found: Job) -> bool:
    """Whether the job's message may run."""
    message = row(app, found.id)
    signing.check(message.payload, message.content_type, message.headers)
    return True


def dead_letter(app: Celeriac, *args: Any) -> str:
    id = str(app.tasks["tests.echo"].delay(*args).id)
    with app.database.transaction() as connection:
        values = {"state": "failed", "finished": JOBS.c.queued, "failure_info": "x"}
        connection.execute(update(JOBS).where(JOBS.c.id == UUID(id)).values(**values))
    return id


def test_a_job_is_signed_in_its_row_and_in_the_broker(app: Celeriac, house: House) -> None:
    id = app.tasks["tests.echo"].delay(HIDDEN, x=1).id
    found = job(id, app=app)
    assert (found.args, found.kwargs) == ([HIDDEN], {"x": 1})
    assert is_signed(app, found)
    (message,) = house.in_broker()
    assert message["content-type"] == signing.CONTENT_TYPE


def test_each_of_many_jobs_is_signed_for_itself(app: Celeriac) -> None:
    echo = app.tasks["tests.echo"]
    enqueue_many(echo, [[1], [2], Call((3,), idempotency_key="k")])
    chord(group(echo.s(n) for n in (4, 5)))(echo.s())
    found = jobs(app=app)
    assert len(found) == 6
    assert all(is_signed(app, each) for each in found)


def test_a_schedules_jobs_are_signed(app: Celeriac) -> None:
    made = schedules.register("tick", "tests.echo", every=60, args=[7], app=app)
    assert made.next_run is not None
    (id,) = fire_due(app, now=made.next_run + timedelta(seconds=1)).jobs
    found = job(str(id), app=app)
    assert found.args == [7]
    assert is_signed(app, found)


def test_a_compressed_job_is_signed_below_its_compression(app: Celeriac) -> None:
    id = app.tasks["tests.echo"].apply_async(("x" * 10_000,), compression="zlib").id
    assert job(id, app=app).args == ["x" * 10_000]


def test_another_serializer_is_refused(app: Celeriac) -> None:
    with pytest.raises(BadArgument, match="wanted one of auth, found 'json'"):
        app.tasks["tests.echo"].apply_async((1,), serializer="json")
    assert jobs(app=app) == []


def test_an_edited_dead_letter_is_signed_anew(app: Celeriac) -> None:
    id = dead_letter(app, 1)
    before = row(app, id).payload
    assert replay_one(id, args=[2], app=app)
    assert row(app, id).payload != before
    found = job(id, app=app)
    assert found.args == [2]
    assert is_signed(app, found)


def test_a_forged_dead_letter_is_not_signed_by_editing_it(
    app: Celeriac, house: House, tmp_path: Path
) -> None:
    """What an edit leaves as it was would be signed with the rest."""
    id = dead_letter(app, 1)
    forged = signer(tmp_path, "stranger").sign([[1], {}, {"callbacks": [{"task": "tests.noop"}]}])
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == UUID(id)).values(payload=forged))
    with pytest.raises(BadArgument, match="its signature does not hold"):
        replay_one(id, args=[2], app=app)
    assert row(app, id).payload == forged


def test_whoever_has_no_key_reads_signed_jobs(app: Celeriac, house: House) -> None:
    id = app.tasks["tests.echo"].delay(HIDDEN).id
    without = house.app(None)
    assert job(id, app=without).args == [HIDDEN]
    assert HIDDEN in call(without, "jobs", "show", id).stdout


def test_whoever_has_no_key_edits_no_signed_job(app: Celeriac, house: House) -> None:
    id = dead_letter(app, 1)
    before = row(app, id).payload
    told = call(house.app(None), "dead-letters", "replay", id, "--edit-args", "[2]", "--yes")
    assert told.exit_code == 2
    assert "is signed: set CELERIAC_SIGNING_KEY" in told.stderr
    assert "Traceback" not in said(told)
    assert row(app, id).payload == before


def test_unsigned_jobs_of_before_can_be_read_and_not_edited(app: Celeriac, house: House) -> None:
    id = dead_letter(house.app(None), 1)
    assert job(id, app=app).args == [1]
    with pytest.raises(BadArgument, match="its body is not signed"):
        replay_one(id, args=[2], app=app)


def test_a_command_whose_files_cannot_be_read_says_so_in_sentences(
    redis_url: str, sqlite_url: str, ours: Signer, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere.key"
    env = environment(redis_url, sqlite_url, ours.settings | {"signing_key": nowhere})
    ended = celery("jobs", "list", env=env)
    assert ended.returncode == 1
    assert ended.stderr == (
        "celery: the settings have a problem:\n"
        f"  - CELERIAC_SIGNING_KEY: {nowhere} cannot be read: No such file or directory\n"
    )
