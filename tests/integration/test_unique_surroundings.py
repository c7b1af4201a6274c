"""What people see of unique jobs: the doctor's findings, and the console's page of a job."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import pytest
from celery import group
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from celeriac import Debounce, Unique, enqueue_in
from celeriac.ledger.reads.unique_keys import OpenWriter
from celeriac.operate.doctor.finding import Level
from celeriac.operate.doctor.flow import unique_check
from celeriac.operate.doctor.flow.unique_check import Facts, NullKey
from celeriac.operate.presentation.unique_words import followers_of
from tests.unique_desk import Desk, app_of, disposing


@pytest.fixture
def desk(redis_url: str, database_url: str) -> Iterator[Desk]:
    with closing(app_of(redis_url, database_url)) as made:
        yield Desk(made)


@pytest.fixture
def pg_desk(redis_url: str, postgres_url: str) -> Iterator[Desk]:
    with closing(app_of(redis_url, postgres_url)) as made:
        yield Desk(made)


# ---- the doctor


def test_a_transaction_that_keeps_a_key_busy_is_found_with_who_waits_for_it(
    pg_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unique_check, "_LONG", 0.0)
    with disposing(create_engine(pg_desk.app.settings.database)) as engine, Session(engine) as reader:
        reader.execute(text("SELECT count(*) FROM background_jobs"))  # it only reads
        with Session(engine) as session, ThreadPoolExecutor(1) as pool:
            session.execute(text("SET application_name = 'the shop'"))
            pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with enqueue_in(session, app=pg_desk.app):
                first = pg_desk.active.delay(7)
            call = pool.submit(pg_desk.active.delay, 7)
            pg_desk.wait_for_a_lock()
            facts = unique_check.read(pg_desk.app)
            (writer,) = [each for each in facts.writers if each.pid == pid]
            assert (writer.application, writer.idle, writer.blocks) == ("the shop", True, 1)
            assert reader.execute(text("SELECT pg_backend_pid()")).scalar_one() not in {
                each.pid for each in facts.writers
            }
            session.commit()
            assert call.result().id == first.id
    assert unique_check.read(pg_desk.app).writers == []


def test_a_task_whose_key_is_null_in_every_call_is_found(desk: Desk) -> None:
    facts = unique_check.read(desk.app)
    assert facts.tasks >= 5  # those of the desk; a process of tests may have shared tasks beside them
    assert facts.null_keys == []
    for _ in range(3):
        desk.claim(desk.waiting.delay(None).id)
    for order in (None, None, 7):
        desk.claim(desk.hourly.apply_async((order,), unique=Unique(args=("order",), while_="waiting")).id)
    (found,) = unique_check.read(desk.app).null_keys
    assert found == NullKey(task="waiting", option="unique", arguments=("order",), jobs=3)
    desk.waiting.delay(7)
    assert unique_check.read(desk.app).null_keys == []


def test_the_doctor_says_what_it_found_and_what_to_do() -> None:
    writer = OpenWriter(pid=42, application="shop", age=timedelta(seconds=80), idle=True, blocks=3)
    null = NullKey(task="shop.sync", option="debounce", arguments=("order",), jobs=50)
    busy, key = unique_check.judge(Facts(tasks=2, writers=[writer], null_keys=[null]))
    assert (busy.level, key.level) == (Level.WARN, Level.WARN)
    assert "(pid 42) has written jobs" in busy.sentence
    assert "waits for its program" in busy.sentence
    assert "3 sessions wait for it now" in busy.sentence
    assert "pg_terminate_backend(42)" in (busy.remedy or "")
    assert "the last 50 jobs of shop.sync had null for order, of which its debounce makes" in key.sentence
    (fine,) = unique_check.judge(Facts(tasks=2))
    assert (fine.level, fine.sentence) == (Level.OK, "2 tasks with unique keys, none of them kept busy")
    (none,) = unique_check.judge(Facts())
    assert none.sentence == "no task has unique keys"


def test_the_doctor_reads_debounced_tasks_too(desk: Desk) -> None:
    desk.plain.debounce = Debounce(5, args=("value",))
    for _ in range(3):
        made = desk.plain.delay(None).id
        with desk.database.transaction() as connection:
            connection.execute(text("UPDATE background_jobs SET next_attempt_after = queued"))
        desk.claim(made)
    assert [each.option for each in unique_check.read(desk.app).null_keys] == ["debounce"]


# ---- the console


def test_a_job_tells_its_unfinished_followers(desk: Desk) -> None:
    first = desk.active.delay(7)
    members = group(desk.active.s(7) for _ in range(2)).apply_async()
    other = desk.active.delay(8)
    assert {each.id for each in followers_of(first.id, app=desk.app)} == {each.id for each in members}
    assert followers_of(other.id, app=desk.app) == []
    assert followers_of(members[0].id, app=desk.app) == []
    desk.drain()
    assert followers_of(first.id, app=desk.app) == []
