"""The message that is written in one go, against the one that kombu writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from celeriac.application import Celeriac
from celeriac.broker import sending, wire
from celeriac.headers import STAMP
from celeriac.ids import new_id
from celeriac.ledger.writes.copy_in import SimilarJobs, own_headers
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.new_jobs import new_job


@pytest.fixture
def platform(redis_url: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    monkeypatch.setenv("CELERY_BROKER_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    app = build(Settings(), name="wire", set_as_current=False)
    yield app
    app.close()


def drawn(app: Celeriac, queue: str) -> list[Any]:
    """What lies in a queue, the next to be drawn first."""
    with app.connection_for_write() as connection:
        texts = connection.default_channel.client.lrange(queue, 0, -1)
        connection.default_channel.client.delete(queue)
    return [json.loads(text) for text in reversed(texts)]


def without_tag(message: Any) -> Any:
    assert message["properties"].pop("delivery_tag")
    return message


def test_it_is_the_message_that_kombu_would_have_sent(platform: Celeriac) -> None:
    job = new_job(payload='[["ü"], {}, {}]'.encode(), headers={"task": "a.b", "id": new_id(), "retries": 0})
    with platform.connection_for_write() as connection:
        sending._publish_elsewhere(connection.Producer(), job)
        sending.publish(connection.Producer(), [job])
    theirs, ours = drawn(platform, job.queue)
    assert without_tag(ours) == without_tag(theirs)
    assert ours["headers"][STAMP] == {"dispatch": 1, "tag": job.message_tag}


def test_headers_that_were_encoded_before_are_the_same_message() -> None:
    headers = {"task": "a.b", "id": new_id(), "argsrepr": "('ü',)", "retries": 0}
    job = new_job(headers=headers)
    known = replace(job, headers_encoded=(headers, json.dumps(headers)))
    assert without_tag(json.loads(wire.write(known))) == without_tag(json.loads(wire.write(job)))
    other = replace(known, headers={**headers, "task": "c.d"})
    assert json.loads(wire.write(other))["headers"]["task"] == "c.d"


def test_many_are_drawn_in_the_order_in_which_they_were_sent(
    platform: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_PORTION", 1_000)  # characters: two messages at most
    jobs = [new_job(queue=queue) for queue in ("high", "high", "high", "high", "high", "low")]
    with platform.connection_for_write() as connection:
        sending.publish(connection.Producer(), jobs)
    ids = [str(job.id) for job in jobs]
    assert [m["properties"]["correlation_id"] for m in drawn(platform, "high")] == ids[:5]
    assert [m["properties"]["correlation_id"] for m in drawn(platform, "low")] == ids[5:]


def test_a_damaged_row_does_not_hold_up_the_others(platform: Celeriac) -> None:
    jobs = [new_job(), new_job(headers={"id": UUID(int=1)}), new_job()]
    with platform.connection_for_write() as connection:
        sending.publish(connection.Producer(), jobs)
    sent = [message["properties"]["correlation_id"] for message in drawn(platform, jobs[0].queue)]
    assert sent == [str(jobs[0].id), str(jobs[2].id)]


def test_an_interrupted_push_leaves_no_answer_for_the_next_one(
    platform: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = new_job()
    with platform.connection_for_write() as connection:
        channel = connection.default_channel
        channel.put(job.queue, ["first"])
        line = channel._pushing._client.connection
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(type(line), "read_response", interrupted)
            channel.put(job.queue, ["second"])
        assert line._sock is None
        channel.put(job.queue, ["third"])
        assert channel.client.llen(job.queue) == 3  # the second was sent; its answer went unread
        channel.client.delete(job.queue)


def interrupted(*args: object, **kwargs: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # which this is about
def test_a_forked_process_has_a_connection_of_its_own(platform: Celeriac) -> None:
    job: NewJob = new_job()
    with platform.connection_for_write() as connection:
        channel = connection.default_channel
        channel.put(job.queue, ["parent"])
        mine = channel._pushing
        child = os.fork()
        if not child:
            channel.put(job.queue, ["child"])
            os._exit(channel._pushing is mine)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        channel.put(job.queue, ["parent again"])
        assert channel._pushing is mine
        assert channel.client.lrange(job.queue, 0, -1) == [b"parent again", b"child", b"parent"]
        channel.client.delete(job.queue)


def test_messages_of_jobs_alike_are_those_of_each(platform: Celeriac) -> None:
    jobs = [new_job(payload=f"[[{n}], {{}}, {{}}]".encode()) for n in range(3)]
    rows = [
        (str(job.id), job.payload, own_headers(str(job.id), f"({n},)", '{"a": "\\ü"}', root=False))
        for n, job in enumerate(jobs)
    ]
    similar = SimilarJobs(jobs[0], rows)
    quick = [json.loads(text) for text in wire.write_similar(similar.model, similar.headers(), similar.rows)]
    assert [without_tag(one) for one in quick] == [
        without_tag(json.loads(wire.write(job))) for job in similar.jobs()
    ]
    assert [one["headers"]["argsrepr"] for one in quick] == ["(0,)", "(1,)", "(2,)"]
