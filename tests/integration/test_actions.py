"""What operators did is on record: who, what, when, to which jobs, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from celeriac.application import Celeriac
from celeriac.errors import BadArgument
from celeriac.ledger.schema.operator_tables import ACTIONS
from celeriac.operate.actions import Actor, Via, list_actions, record
from celeriac.retention import Retention, prune
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app

HOUR = timedelta(hours=1)


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = mail_app(Settings(database_url=database_url, broker_url=redis_url), name="actions")
    yield made
    made.close()


def write(app: Celeriac, action: str = "cancel", *, who: str = "ann", age: float = 0.0, **values: Any) -> str:
    """An action of ``age`` seconds ago."""
    values = {"via": Via.CONSOLE, "subject": "a job"} | values
    id = record(action, who=who, app=app, **values)
    if age:
        with app.database.transaction() as connection:
            moment = stock.before(age)
            moved = {"began": moment, "touched": moment, "ended": moment}
            connection.execute(update(ACTIONS).where(ACTIONS.c.subject == values["subject"]).values(moved))
    return id


def test_an_action_is_on_record(app: Celeriac) -> None:
    job = stock.job()["id"]
    id = write(app, "replay", job_id=job, reason=" the mail server is back ", counted=1)
    (found,) = list_actions(app=app).actions
    assert (found.id, found.who, found.via, found.action) == (id, "ann", "console", "replay")
    assert (found.job_id, found.reason, found.counted, found.done) == (
        str(job),
        "the mail server is back",
        1,
        1,
    )
    assert found.state == "done"
    assert found.ended is not None
    assert found.began <= found.ended


def test_a_record_is_written_with_what_it_tells_or_not_at_all(app: Celeriac) -> None:
    with pytest.raises(ZeroDivisionError), app.database.transaction() as connection:
        record("cancel", who="ann", via=Via.CLI, subject="a job", connection=connection)
        raise ZeroDivisionError
    assert list_actions(app=app).actions == ()


def test_actions_are_found_by_person_action_time_and_job(app: Celeriac) -> None:
    job = stock.job()["id"]
    write(app, "replay", who="ben", subject="old", age=7200)
    write(app, "cancel", who="ann", subject="young", job_id=job)

    def subjects(**wanted: Any) -> list[str]:
        return [each.subject for each in list_actions(app=app, **wanted).actions]

    assert subjects() == ["young", "old"]
    assert subjects(who="ben") == subjects(action="replay") == subjects(until=HOUR) == ["old"]
    assert subjects(since=HOUR) == subjects(job=str(job)) == ["young"]
    assert subjects(since=stock.before(10_000), until=stock.before(3600)) == ["old"]


def test_a_page_begins_behind_the_page_before(app: Celeriac) -> None:
    ids = [write(app, subject=str(number)) for number in range(5)]
    first = list_actions(limit=3, app=app)
    second = list_actions(limit=3, after=first.next, app=app)
    assert [each.id for each in (*first.actions, *second.actions)] == ids[::-1]
    assert second.next is None
    with pytest.raises(BadArgument):
        list_actions(after="yesterday", app=app)


def test_no_name_and_no_reason_is_more_than_text(app: Celeriac) -> None:
    write(app, who="\x1b[31m\u202e" + "\x00" * 200, subject="\x00" + "x" * 5000)
    (found,) = list_actions(app=app).actions
    assert found.who == ("\\x1b[31m\\u202e" + "\\x00" * 200)[:255]
    assert len(found.subject) < 2_100
    with pytest.raises(BadArgument):
        write(app, reason="x" * 1001)


def test_the_user_of_a_terminal_may_have_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)
    assert Actor.at_the_terminal() == Actor("unknown", Via.CLI)


def test_records_are_pruned_after_their_time(app: Celeriac) -> None:
    write(app, subject="old", age=91 * 86_400)
    write(app, subject="young", age=89 * 86_400)
    assert prune(app=app, retention=Retention(done=HOUR, dead=HOUR))["actions"] == 1
    assert [each.subject for each in list_actions(app=app).actions] == ["young"]
