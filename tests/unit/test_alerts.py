"""What is wrong, what of it is told, and in which words; and settings of alerts that cannot work."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from celeriac.errors import SettingsError
from celeriac.ledger.upkeep.worker_rows import WorkerSeen
from celeriac.ledger.writes.dead_letters import Group
from celeriac.notify.message import lines, title
from celeriac.operate.alerts import troubles
from celeriac.operate.alerts.rounds import Alert, compare
from celeriac.operate.alerts.troubles import Trouble
from celeriac.operate.doctor.schedules_check import Facts, ScheduleFacts
from celeriac.operate.overview import QueueStatus, WorkerStatus
from celeriac.settings.platform import read_settings

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def trouble(key: str = "failures:1", size: int = 0) -> Trouble:
    return Trouble(key=key, kind="failures", sentence="it fails", path="/dead/1", size=size)


def alert(key: str = "failures:1", size: int = 0) -> Alert:
    return Alert(key=key, kind="failures", sentence="", path="", since=NOW, seen=NOW, size=size)


@pytest.mark.parametrize(
    ("before", "size", "grown"),
    [(1, 10, False), (1, 11, True), (20, 39, False), (20, 40, True), (40, 3, False), (0, 0, False)],
)
def test_a_group_is_told_again_when_it_has_doubled(before: int, size: int, grown: bool) -> None:
    if not before and not size:  # what has no size cannot grow
        assert compare([alert("queue:low")], [trouble("queue:low")]).grown == []
        return
    found = compare([alert(size=before)], [trouble(size=size)])
    assert (len(found.grown), len(found.same)) == ((1, 0) if grown else (0, 1))


def test_what_is_new_and_what_is_gone_are_told_apart() -> None:
    found = compare([alert("a"), alert("b")], [trouble("b"), trouble("c")])
    assert [one.key for one in found.raised] == ["c"]
    assert [one.key for one in found.same] == ["b"]
    assert [one.key for one in found.gone] == ["a"]


def test_what_is_muted_is_neither_raised_nor_over() -> None:
    found = compare([alert("a"), alert("b")], [trouble("b"), trouble("c")], muted={"a", "b", "c"})
    assert (found.raised, found.grown, found.same, found.gone) == ([], [], [], [])
    assert [one.key for one in found.muted] == ["a", "b"]


def test_a_group_without_a_failure_of_the_last_hour_is_no_trouble() -> None:
    new = Group(
        task="mail.send",
        exception_type="KeyError",
        frame="mail.py:send",
        count=3,
        example="",
        first=NOW - 90 * 60 * SECOND,
        last=NOW - 59 * 60 * SECOND,
    )
    old = dataclasses.replace(new, last=NOW - 61 * 60 * SECOND)
    (found,) = troubles.failures([old, new], NOW)
    assert found.sentence == "mail.send fails with KeyError at mail.py:send: 3 dead letters"
    assert found.path == f"/dead/{found.key.removeprefix('failures:')}"
    assert found.size == 3


def queue(**values: Any) -> QueueStatus:
    fields = {field.name: 0 for field in dataclasses.fields(QueueStatus)}
    known: dict[str, Any] = {"name": "low", "lane": "", "level": "low", "oldest": None, "consumers": 1}
    return QueueStatus(**{**fields, **known, **values})


def test_each_queue_may_have_a_limit_of_its_own() -> None:
    limits = {"": 600.0, "low": 7200.0, "bulk": 10.0}
    queues = [
        queue(oldest=601 * SECOND),
        queue(name="normal", oldest=601 * SECOND, due=2, consumers=0),
        queue(name="high", oldest=600 * SECOND),
        queue(name="bulk.low", lane="bulk", oldest=11 * SECOND),
    ]
    found = list(troubles.late_queues(queues, limits))
    assert [one.key for one in found] == ["queue:normal", "queue:bulk.low"]
    assert "2 jobs wait; no live worker draws from it" in found[0].sentence


def worker(name: str, *, silent: float, alive: bool, stopped: bool = False) -> WorkerStatus:
    seen = WorkerSeen(
        id=UUID(int=1),
        hostname=name,
        pid=1,
        pool="solo",
        concurrency=1,
        queues=[],
        version="",
        started=NOW,
        heartbeat=NOW,
        stopped=NOW if stopped else None,
        silent=silent * SECOND,
        running=3,
    )
    return WorkerStatus(worker=seen, alive=alive)


def test_a_silent_worker_is_told_unless_another_took_its_name() -> None:
    one, two = worker("a@x", silent=40, alive=False), worker("a@x", silent=1, alive=True)
    (found,) = troubles.silent_workers([one, worker("b@x", silent=99, alive=False, stopped=True)])
    assert found.sentence == "worker a@x is silent for 40 s; it holds 3 jobs"
    assert list(troubles.silent_workers([one, two])) == []


def test_a_late_and_a_skipped_schedule_are_told() -> None:
    late = ScheduleFacts(name="a/b", task="t", known=True, next_run=NOW - 31 * SECOND)
    skipped = ScheduleFacts(name="c", task="t", known=True, next_run=NOW, trouble="the job before it runs")
    well = ScheduleFacts(name="d", task="t", known=True, next_run=NOW - 30 * SECOND)
    facts = Facts(clock=NOW, grace=30 * SECOND, schedules=[late, skipped, well])
    found = list(troubles.troubled_schedules(facts))
    assert [one.sentence for one in found] == [
        "schedule a/b is late by 31 s",
        "schedule c was skipped: the job before it runs",
    ]
    assert found[0].path == "/schedules/a/b"


def test_a_text_of_an_alert_is_safe_and_bounded() -> None:
    nasty = {"state": "raised", "sentence": "boom\r\nBcc: a@b\x1b[2J", "url": None}
    message = {"environment": "shop\n", "alerts": [nasty] * 60}
    assert title(message) == "[shop\\n] boom\\r\\nBcc: a@b\\x1b[2J (and 59 more)"
    assert len(lines(message)) == 51
    assert lines(message)[-1] == "and 10 more"


@pytest.mark.parametrize(
    ("variables", "saying"),
    [
        ({"ALERT_EMAIL": "ops@example.org"}, "CELERIAC_ALERT_EMAIL needs CELERIAC_SMTP_URL"),
        ({"ALERT_EMAIL": "ops", "SMTP_URL": "smtp://h"}, "wanted addresses of mail"),
        ({"ALERT_EMAIL_FROM": "a@b\nBcc: c@d"}, "CELERIAC_ALERT_EMAIL_FROM: wanted addresses of mail"),
        ({"SMTP_URL": "http://u:hunter2@h"}, "CELERIAC_SMTP_URL: wanted smtp://"),
        ({"SMTP_URL": "smtp://u:hunter2@h:x"}, "CELERIAC_SMTP_URL: wanted smtp://"),
        ({"ALERT_WEBHOOK": "ftp://hunter2"}, "CELERIAC_ALERT_WEBHOOK: wanted https://host/"),
        ({"ALERT_SLACK": "hunter2"}, "CELERIAC_ALERT_SLACK: wanted https://host/"),
        ({"ALERT_WEBHOOK_SECRET": "hunter2"}, "CELERIAC_ALERT_WEBHOOK: set both"),
        ({"ALERT_QUEUE_AGE": "soon"}, "CELERIAC_ALERT_QUEUE_AGE: wanted seconds"),
        ({"ALERT_QUEUE_AGE": "600,low=-1"}, "found 'low=-1'"),
        ({"CONSOLE_URL": "ops.example.org"}, "CELERIAC_CONSOLE_URL: wanted https://host/"),
    ],
)
def test_settings_of_alerts_that_cannot_work_are_refused_without_a_secret(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], saying: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"CELERIAC_{name}", value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert saying in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_no_alert_is_sent_until_a_receiver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().alert_channels == ()
    monkeypatch.setenv("CELERIAC_ALERT_SLACK", "https://hooks.example.org/T0/hunter2")
    settings = read_settings()
    assert settings.alert_channels == ("slack",)
    assert "hunter2" not in repr(settings)
