"""``queues pause`` and ``tasks pause``: who may be named, what is said, what is on record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, update

from celeriac.application import Celeriac
from celeriac.errors import BadArgument, UnknownTask
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.operator_tables import PAUSES
from celeriac.ledger.upkeep import dispatch
from celeriac.operate import actions, doctor, pauses
from celeriac.operate.actions import Actor, Via
from celeriac.operate.explain import Reason, explain
from celeriac.operate.overview import count_jobs, queues
from celeriac.operate.pauses import PauseKind
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.commands import call, told

QUEUE, TASK = PauseKind.QUEUE, PauseKind.TASK
ANN = Actor("ann", Via.CONSOLE)


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = mail_app(Settings(database_url=database_url, broker_url=redis_url), name="pauses")
    yield made
    made.close()


def paused(app: Celeriac) -> list[tuple[str, str]]:
    return [(row.kind, row.name) for row in pauses.paused(app=app)]


def test_a_level_is_paused_alone_and_a_lane_with_its_levels(app: Celeriac) -> None:
    assert call(app, "queues", "pause", "low", "--reason", "smtp is down").stdout == "low is paused\n"
    assert paused(app) == [("queue", "low")]
    call(app, "queues", "pause", "default")
    levels = ["celery", "critical", "default", "high", "low", "normal"]
    assert paused(app) == [("queue", name) for name in levels]
    assert told(app, "queues", "resume", "high")["names"] == ["high"]
    assert told(app, "queues", "resume", "default")["names"] == [name for name in levels if name != "high"]
    assert paused(app) == []


def test_a_task_is_paused(app: Celeriac) -> None:
    found = told(app, "tasks", "pause", "mail.send", "--reason", "bad release")
    assert (found["command"], found["names"]) == ("tasks pause", ["mail.send"])
    (row,) = found["paused"]
    assert (row["kind"], row["name"], row["reason"]) == ("task", "mail.send", "bad release")
    assert "the task mail.send is paused by" in call(app, "queues").stderr
    assert call(app, "tasks", "resume", "mail.send").stdout == "mail.send goes on\n"


def test_a_second_pause_names_the_first(app: Celeriac) -> None:
    pauses.pause(QUEUE, "low", actor=ANN, reason="smtp is down", app=app)
    found = call(app, "queues", "pause", "low")
    assert found.exit_code == 0
    assert "low was paused by ann since" in found.stdout
    assert found.stdout.endswith(": smtp is down\n")


def test_what_is_not_paused_cannot_be_resumed(app: Celeriac) -> None:
    found = call(app, "queues", "resume", "low")
    assert (found.exit_code, "the queue 'low' is not paused" in found.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["queues", "pause", "lwo"], "nobody knows a queue 'lwo'"),
        (["queues", "pause", "lows"], "did you mean 'low'?"),
        (["queues", "pause", "high.low"], "a lane's name must not be or end in a level"),
        (["tasks", "pause", "mail.sent"], "no task is named 'mail.sent'; did you mean 'mail.send'?"),
        (["tasks", "pause", ""], "found an empty one"),
        (["queues", "pause", "low", "--reason", "x" * 1001], "wanted at most 1000 characters"),
    ],
)
def test_a_name_that_nobody_knows_is_refused(app: Celeriac, words: list[str], sentence: str) -> None:
    found = call(app, *words)
    assert found.exit_code in (1, 2)
    assert paused(app) == []
    assert sentence in found.stderr


def test_what_only_the_ledger_knows_may_be_paused(app: Celeriac) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [stock.pending(queue="gone.low", job_type="old.task")])
    assert pauses.pause(QUEUE, "gone", actor=ANN, app=app)[:2] == ["gone", "gone.critical"]
    assert pauses.pause(TASK, "old.task", actor=ANN, app=app) == ["old.task"]
    with pytest.raises(BadArgument):
        pauses.pause(QUEUE, "other", actor=ANN, app=app)
    with pytest.raises(UnknownTask):
        pauses.pause(TASK, "old.tasks", actor=ANN, app=app)


def test_who_did_it_is_on_record(app: Celeriac) -> None:
    pauses.pause(QUEUE, "low", actor=ANN, reason="smtp is down", app=app)
    pauses.pause(QUEUE, "low", actor=ANN, app=app)  # which changes nothing
    call(app, "queues", "resume", "low", "--reason", "it is back")
    found = actions.list_actions(app=app).actions
    told_of = [(one.action, one.subject, one.reason, one.via) for one in reversed(found)]
    assert told_of == [
        ("queue pause", "low", "smtp is down", "console"),
        ("queue resume", "low", "it is back", "cli"),
    ]
    assert [one.who for one in reversed(found)] == ["ann", Actor.at_the_terminal().who]


def test_a_held_job_says_why_it_waits(app: Celeriac) -> None:
    job = stock.pending(queue="low", dispatched=None)
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [job])
    pauses.pause(QUEUE, "low", actor=ANN, reason="smtp is down", app=app)
    with app.database.transaction() as connection:
        assert dispatch.take_or_hold(connection, 10, limit=9) == ([], 1)
    found = explain(str(job["id"]), app=app)
    assert (found.reason, found.remedy) == (Reason.PAUSED, "celery -A app queues resume low")
    assert "paused by ann since" in found.sentence
    low = next(queue for queue in queues(app=app) if queue.name == "low")
    assert (low.held, low.due, low.oldest) == (1, 0, None)
    assert low.paused is not None
    counts = count_jobs(app=app)
    assert (counts.held, counts.due, counts.oldest) == (1, 0, None)
    shown = next(one for one in told(app, "queues")["queues"] if one["name"] == "low")
    assert (shown["held"], shown["paused"]["who"], shown["paused"]["reason"]) == (1, "ann", "smtp is down")


def test_the_statistics_name_the_tasks_that_are_paused(app: Celeriac) -> None:
    stock.filled(app)
    pauses.pause(TASK, "mail.send", actor=ANN, app=app)
    assert "celery -A app tasks resume mail.send" in call(app, "stats").stderr
    assert [row["name"] for row in told(app, "stats")["paused"]] == ["mail.send"]


def test_the_doctor_names_a_pause_that_may_have_been_forgotten(app: Celeriac) -> None:
    def findings() -> list[tuple[str, str | None]]:
        return [(str(one.level), one.remedy) for one in doctor.examine(app) if one.check == "pauses"]

    assert findings() == [("ok", None)]
    pauses.pause(QUEUE, "low", actor=ANN, app=app)
    assert findings() == [("ok", None)]
    with app.database.transaction() as connection:
        connection.execute(update(PAUSES).values(since=datetime.now(UTC) - timedelta(hours=1)))
    assert findings() == [("warn", "celery -A app queues resume low")]
