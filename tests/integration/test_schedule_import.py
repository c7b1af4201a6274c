"""``schedules import``: entries that redbeat, Celery's beat and django-celery-beat have really written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.beat import PersistentScheduler
from celery.schedules import crontab, schedule
from redbeat import RedBeatScheduler, RedBeatSchedulerEntry
from redbeat.schedules import rrule

from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.errors import BadArgument
from celeriac.operate import schedule_import
from celeriac.operate.schedule_import import Line, OldEntry, OldSchedules, Verdict
from celeriac.operate.schedule_import.beat_config import BeatConfig
from celeriac.operate.schedule_import.redbeat import RedbeatKeys
from celeriac.settings.platform import Settings
from tests import fork_server
from tests.apps import build
from tests.processes import run
from tests.workers import ROOT, celery, environment

RAN = datetime(2026, 1, 5, 3, 0, 0, 250_000, tzinfo=UTC)
LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    known: dict[str, Any] = {"broker_url": redis_url, "database_url": database_url}
    made = build(Settings(**known, task_modules=("tests.jobs",)), set_as_current=False)
    yield made
    made.close()


def by_name(lines: Sequence[Line]) -> dict[str, Line]:
    return {line.name: line for line in lines}


def verdicts(lines: Sequence[Line]) -> dict[str, Verdict]:
    return {line.name: line.verdict for line in lines}


# ---- redbeat


@pytest.fixture
def redbeat(redis_url: str) -> Iterator[Celery]:
    """A plain app with redbeat, and three entries of it."""
    plain = Celery("plain", broker=redis_url, set_as_current=False)
    plain.conf.update(redbeat_redis_url=redis_url, redbeat_redis_options={"socket_timeout": 5})
    for name, when, more in (
        ("nightly", crontab(hour=3, minute=0), {"args": [1], "options": {"priority": 20, "expires": 60}}),
        ("often", schedule(timedelta(minutes=5)), {"kwargs": {"x": "y"}, "enabled": False}),
        ("weekly", rrule("WEEKLY"), {}),
    ):
        entry = RedBeatSchedulerEntry(name, "tests.echo", when, app=plain, **{"args": ["x"], **more})
        entry.save()
    RedBeatSchedulerEntry.from_key("redbeat:nightly", app=plain)._next_instance(last_run_at=RAN)
    yield plain
    for key in plain.redbeat_redis.keys("redbeat:*"):
        plain.redbeat_redis.delete(key)
    plain.close()
    plain.redbeat_redis.close()


def kept(redbeat: Celery, name: str) -> Any:
    return RedBeatSchedulerEntry.from_key(f"redbeat:{name}", app=redbeat)


def test_what_would_be_done_is_told_and_nothing_is_done(app: Celeriac, redbeat: Celery) -> None:
    told = by_name(schedule_import.plan(app, RedbeatKeys(app)))
    assert {name: line.verdict for name, line in told.items()} == {
        "nightly": Verdict.COPIED,
        "often": Verdict.COPIED,
        "weekly": Verdict.REFUSED,
    }
    assert "rrule" in str(told["weekly"].reason)
    assert schedules.list_all(app=app) == []
    assert kept(redbeat, "nightly").enabled


def test_redbeats_entries_are_copied_with_their_state_and_disabled_there(
    app: Celeriac, redbeat: Celery
) -> None:
    schedule_import.apply(app, RedbeatKeys(app))
    nightly, often = schedules.list_all(app=app)
    assert (nightly.name, nightly.task, nightly.args, nightly.expression) == (
        "nightly",
        "tests.echo",
        [1],
        "0 3 * * *",
    )
    assert nightly.options == {"priority": 20, "expires": 60}
    assert (nightly.enabled, nightly.last_run, nightly.run_count) == (True, RAN, 1)
    assert nightly.next_run == datetime(2026, 1, 6, 3, tzinfo=UTC)  # the first that was missed
    assert (often.enabled, often.kwargs, often.expression) == (False, {"x": "y"}, "300")
    assert not kept(redbeat, "nightly").enabled
    assert kept(redbeat, "weekly").enabled  # what is refused goes on there


def test_an_import_can_be_repeated(app: Celeriac, redbeat: Celery) -> None:
    """What an operator has switched here stays; the entries there are disabled by then."""
    schedule_import.apply(app, RedbeatKeys(app))
    schedules.disable("nightly", app=app)
    schedules.enable("often", app=app)
    assert verdicts(schedule_import.apply(app, RedbeatKeys(app)))["nightly"] is Verdict.KNOWN
    assert {each.name: each.enabled for each in schedules.list_all(app=app)} == {
        "nightly": False,
        "often": True,
    }


def test_an_import_is_taken_back_with_the_state_of_now(app: Celeriac, redbeat: Celery) -> None:
    schedule_import.apply(app, RedbeatKeys(app))
    lines = schedule_import.undo(app, RedbeatKeys(app))
    assert verdicts(lines) == {"nightly": Verdict.TAKEN_BACK, "often": Verdict.TAKEN_BACK}
    assert schedules.list_all(app=app) == []
    assert (kept(redbeat, "nightly").enabled, kept(redbeat, "nightly").last_run_at) == (True, RAN)
    assert not kept(redbeat, "often").enabled  # as it was


def test_a_schedule_of_that_name_that_differs_stays(app: Celeriac, redbeat: Celery) -> None:
    schedules.register("nightly", "tests.echo", args=["mine"], every=60, app=app)
    line = by_name(schedule_import.apply(app, RedbeatKeys(app)))["nightly"]
    assert (line.verdict, line.reason) == (Verdict.REFUSED, "a schedule of that name is here, and differs")
    assert schedules.get("nightly", app=app).args == ["mine"]
    assert kept(redbeat, "nightly").enabled
    assert by_name(schedule_import.undo(app, RedbeatKeys(app)))["nightly"].verdict is Verdict.REFUSED
    assert schedules.get("nightly", app=app).args == ["mine"]


def test_keys_of_another_prefix_are_another_schedulers(app: Celeriac, redbeat: Celery) -> None:
    assert schedule_import.plan(app, RedbeatKeys(app, prefix="other:")) == []


def test_a_redis_that_is_away_is_a_sentence(app: Celeriac) -> None:
    with pytest.raises(BadArgument, match="redbeat's keys cannot be read"):
        schedule_import.plan(app, RedbeatKeys(app, url="redis://127.0.0.1:1/0"))


def test_a_static_entry_keeps_its_place_and_gets_its_state(app: Celeriac, redis_url: str) -> None:
    """It stands in ``beat_schedule``; redbeat has written it to Redis with when it ran last."""
    entries = {"nightly": {"task": "tests.echo", "schedule": crontab(hour=3, minute=0), "args": ["x"]}}
    plain = Celery("plain", broker=redis_url, set_as_current=False)
    plain.conf.update(redbeat_redis_url=redis_url, redbeat_redis_options={"socket_timeout": 5})
    plain.conf.beat_schedule = dict(entries)
    RedBeatScheduler(plain, lazy=False).close()
    RedBeatSchedulerEntry.from_key("redbeat:nightly", app=plain)._next_instance(last_run_at=RAN)
    app.conf.beat_schedule = dict(entries)
    try:
        lines = by_name(schedule_import.apply(app, RedbeatKeys(app)))
        assert "nothing need be cleaned up" in str(lines["celery.backend_cleanup"].reason)
        found = schedules.get("nightly", app=app)
        assert (found.static, found.last_run, found.run_count) == (True, RAN, 1)
    finally:
        for key in plain.redbeat_redis.keys("redbeat:*"):
            plain.redbeat_redis.delete(key)
        plain.redbeat_redis.close()
        plain.close()


# ---- beat_schedule


ENTRIES = {
    "often": {"task": "tests.echo", "schedule": 300.0, "args": ["x"], "options": {"expires": 60}},
    "nightly": {"task": "tests.echo", "schedule": crontab(hour=3, minute=0), "args": ["x"]},
    "new": {"task": "tests.echo", "schedule": timedelta(hours=1), "args": ["x"]},
}


@pytest.fixture
def beat_file(tmp_path: Path) -> str:
    """What Celery's own beat leaves behind: two entries ran, one has not yet."""
    file = str(tmp_path / "celerybeat-schedule")
    plain = Celery("plain", broker="redis://127.0.0.1:1/0", set_as_current=False)
    plain.conf.beat_schedule = dict(ENTRIES)
    beat = PersistentScheduler(plain, schedule_filename=file)
    for name in ("often", "nightly"):
        beat.schedule[name] = beat.schedule[name].next(last_run_at=RAN)
    beat.close()
    plain.close()
    return file


def test_entries_of_the_configuration_go_on_from_their_last_run(app: Celeriac, beat_file: str) -> None:
    app.conf.beat_schedule = dict(ENTRIES)
    assert set(verdicts(schedule_import.apply(app, BeatConfig(app, file=beat_file))).values()) == {
        Verdict.COPIED
    }
    new, nightly, often = schedules.list_all(app=app)
    assert (nightly.static, nightly.last_run, nightly.next_run) == (
        True,
        RAN,
        datetime(2026, 1, 6, 3, tzinfo=UTC),
    )
    assert (often.next_run, often.options) == (RAN + timedelta(minutes=5), {"expires": 60})
    assert (new.last_run, new.run_count) == (None, 0)
    assert new.next_run is not None
    assert new.next_run > datetime.now(UTC)


def test_entries_that_ours_has_read_already_get_their_state(app: Celeriac, beat_file: str) -> None:
    from celeriac.schedules.static_schedules import sync

    app.conf.beat_schedule = dict(ENTRIES)
    sync(app)
    lines = verdicts(schedule_import.apply(app, BeatConfig(app, file=beat_file)))
    assert lines["nightly"] is Verdict.KNOWN
    assert schedules.get("nightly", app=app).last_run == RAN


@pytest.mark.parametrize("content", [None, b"no schedule at all"])
def test_a_file_that_is_none_of_beats_is_a_sentence(
    app: Celeriac, tmp_path: Path, content: bytes | None
) -> None:
    app.conf.beat_schedule = dict(ENTRIES)
    file = tmp_path / "celerybeat-schedule"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadArgument, match="celerybeat-schedule"):
        schedule_import.plan(app, BeatConfig(app, file=str(file)))


# ---- what any source may hold


class Kept(OldSchedules):
    """Entries of a scheduler that the tests keep."""

    def __init__(self, *entries: OldEntry) -> None:
        self.entries = {entry.name: entry for entry in entries}

    def read(self) -> list[OldEntry]:
        return list(self.entries.values())

    def switch(self, entry: OldEntry) -> None:
        self.entries[entry.name] = entry


def once(name: str, at: datetime) -> OldEntry:
    from celeriac.schedules.validation import ScheduleRequest

    wanted = ScheduleRequest(name=name, task="tests.echo", args=["x"], at=at)
    return OldEntry(name=name, task="tests.echo", wanted=wanted)


def test_one_moment_that_has_passed_is_refused_and_one_to_come_is_copied(app: Celeriac) -> None:
    old = Kept(once("gone", RAN), once("comes", LATER))
    told = by_name(schedule_import.apply(app, old))
    assert "wanted a moment to come" in str(told["gone"].reason)
    assert told["comes"].verdict is Verdict.COPIED
    assert old.entries["gone"].enabled
    assert not old.entries["comes"].enabled
    assert schedules.get("comes", app=app).next_run == LATER


def test_a_task_that_is_not_here_is_refused_by_name(app: Celeriac) -> None:
    from dataclasses import replace

    entry = once("odd", LATER)
    assert entry.wanted is not None
    unknown = replace(entry, wanted=replace(entry.wanted, task="tests.echoo"))
    (line,) = schedule_import.apply(app, Kept(unknown))
    assert "no task is named 'tests.echoo'" in str(line.reason)


# ---- as it is typed


@pytest.fixture
def project(tmp_path: Path, redis_url: str, sqlite_url: str) -> Callable[..., Any]:
    """Runs Python, or ``celery -A proj …``, in a Django project with django-celery-beat."""
    for name, text in DJANGO.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text.replace("@HOME@", str(tmp_path)))
    more = {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "proj.settings"}
    env = environment(redis_url, sqlite_url, more)

    def typed(*words: str, status: int = 0) -> str:
        ended = run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=env,
            libraries=(*fork_server.DJANGO, "django_celery_beat"),
        )
        assert ended.returncode == status, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    return typed


DJANGO = {
    "proj/__init__.py": "from proj.celery import app as celery_app\n",
    "proj/settings.py": """
SECRET_KEY = "x"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
INSTALLED_APPS = ["django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "@HOME@/django.db"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
""",
    "proj/celery.py": """
from celeriac import Celeriac

app = Celeriac("proj")
app.config_from_object("django.conf:settings", namespace="CELERY")

@app.task(name="shop.bill")
def bill(order, vip=False): ...
""",
    "manage.py": """
import sys
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "fill.py": """
import django; django.setup()
from datetime import UTC, datetime, timedelta
from django_celery_beat.models import *

ran = datetime(2026, 1, 5, 2, 0, 0, 250000, tzinfo=UTC)
later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
minutes = IntervalSchedule.objects.create(every=5, period="minutes")
at_three = CrontabSchedule.objects.create(minute="0", hour="3", timezone="Europe/Berlin")
once = ClockedSchedule.objects.create(clocked_time=later)
sun = SolarSchedule.objects.create(event="sunset", latitude=52, longitude=13)

def add(name, **values):
    PeriodicTask.objects.create(**{"name": name, "task": "shop.bill", "args": "[1]", **values})

add("crontab", crontab=at_three, kwargs='{"vip": true}', priority=20, expire_seconds=60, headers='{"x": "y"}',
    last_run_at=ran, total_run_count=7)
add("interval", interval=minutes, queue="high", last_run_at=ran, total_run_count=9)
add("off", interval=minutes, enabled=False)
add("clocked", clocked=once, one_off=True)
add("one off", interval=minutes, one_off=True, last_run_at=later)
add("ran", interval=minutes, one_off=True, total_run_count=1)
add("from to", interval=minutes, start_time=later, expires=later + timedelta(days=1))
add("solar", solar=sun)
add("exchange", interval=minutes, exchange="x")
add("no json", interval=minutes, args="[1")
add("too few", interval=minutes, args="[]")
""",
    "show.py": """
import django; django.setup()
from django_celery_beat.models import PeriodicTask
import json
def state(one):
    return [one.enabled, one.last_run_at and one.last_run_at.isoformat()]
print(json.dumps({one.name: state(one) for one in PeriodicTask.objects.all()}))
""",
}


def imported(run: Callable[..., str], *words: str, status: int = 1) -> dict[str, Any]:
    command = ("-m", "celery", "-A", "proj", "schedules", "import", "--from", "django-celery-beat", "--json")
    text = run(*command, *words, status=status)
    return {each["name"]: each for each in json.loads(text[text.index("{") :])["entries"]}


def test_the_tables_of_django_are_copied_and_taken_back(project: Callable[..., str]) -> None:
    project("manage.py", "migrate", "-v", "0")
    project("fill.py")
    before = json.loads(project("show.py"))
    planned = imported(project)
    assert {name for name, each in planned.items() if each["verdict"] == "refused"} == {
        "celery.backend_cleanup",
        "exchange",
        "no json",
        "ran",
        "solar",
        "too few",
    } & {*planned}
    assert json.loads(project("show.py")) == before
    assert "solar schedule (sunset)" in planned["solar"]["reason"]
    assert "a queue is addressed by its name alone" in planned["exchange"]["reason"]
    assert "it has run already" in planned["ran"]["reason"]

    done = {name: each["schedule"] for name, each in imported(project, "--apply").items()}
    told = done["crontab"]
    assert (told["expression"], told["timezone"], told["run_count"]) == ("0 3 * * *", "Europe/Berlin", 7)
    assert told["options"] == {"priority": 20, "expires": 60, "headers": {"x": "y"}}
    assert (told["last_run"], told["next_run"]) == ("2026-01-05T02:00:00.250000Z", "2026-01-06T02:00:00Z")
    assert (done["interval"]["options"], done["interval"]["next_run"]) == (
        {"queue": "high"},
        "2026-01-05T02:05:00.250000Z",
    )
    assert done["off"]["state"] == "disabled"
    assert [done[name]["kind"] for name in ("clocked", "one off")] == ["once", "once"]
    assert None not in (done["from to"]["starts"], done["from to"]["ends"])
    after = json.loads(project("show.py"))
    assert {name for name, (enabled, _) in after.items() if enabled} & done.keys() == {
        name for name, each in planned.items() if each["verdict"] == "refused"
    }

    assert {each["verdict"] for each in imported(project, "--undo", status=0).values()} == {"taken back"}
    again = json.loads(project("show.py"))
    assert {name: state[0] for name, state in again.items()} == {name: on for name, (on, _) in before.items()}
    assert again["crontab"] == before["crontab"]
    assert "there are no schedules" in project("-m", "celery", "-A", "proj", "schedules", "list", status=1)


def test_without_django_the_command_says_so(
    app: Celeriac, redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    env = environment(redis_url, sqlite_url, {"data_dir": tmp_path})
    ended = celery("schedules", "import", "--from", "django-celery-beat", env=env)
    assert ended.returncode != 0
    assert "DJANGO_SETTINGS_MODULE" in ended.stderr
    assert "Traceback" not in ended.stderr
