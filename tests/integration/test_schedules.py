"""Schedules on both databases: registered, changed, fired once; time is an argument."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from celery.schedules import BaseSchedule, crontab, schedule
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

import tests.jobs  # noqa: F401
from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.errors import BadArgument, InvalidSchedule, ScheduleNotFound
from celeriac.ids import fire_id
from celeriac.ledger.schema.models import JOBS, SCHEDULES
from celeriac.ledger.schema.operator_tables import SCHEDULE_SKIPS
from celeriac.ledger.writes import schedule_rows as ledger
from celeriac.operate.history import sparklines
from celeriac.operate.history.skips import skipped
from celeriac.operate.job import Job, jobs
from celeriac.retention import prune
from celeriac.schedules import Schedule, static_schedules
from celeriac.schedules.firing import FiringResult, fire_due
from celeriac.schedules.validation import ScheduleRequest
from celeriac.settings.platform import Settings
from tests.apps import build

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86_400))


class Clockwork:
    """Schedules of one ledger, and the means to let time pass."""

    def __init__(self, broker: str, database: str) -> None:
        known: dict[str, Any] = {"broker_url": broker, "database_url": database}
        self.app: Celeriac = build(Settings(**known, task_modules=("tests.jobs",)), set_as_current=False)

    def register(self, name: str = "tick", task: str = "tests.noop", **options: Any) -> Schedule:
        if not {"every", "cron", "at"} & options.keys():
            options["every"] = 60
        return schedules.register(name, task, app=self.app, **options)

    def get(self, name: str = "tick") -> Schedule:
        return schedules.get(name, app=self.app)

    def fire(self, now: datetime, **options: Any) -> FiringResult:
        return fire_due(self.app, now=now, **options)

    def pass_time(self, since: datetime, until: datetime, step: timedelta) -> None:
        """Fire as a beat would that looks every ``step``."""
        while since <= until:
            while self.fire(since).found:
                pass
            since += step

    def skips(self, name: str = "tick") -> list[tuple[datetime, datetime, str]]:
        return [(one.first, one.last, one.reason) for one in skipped(name, app=self.app)]

    def jobs(self) -> list[Job]:
        """Oldest first."""
        return jobs(app=self.app, limit=1000)[::-1]

    def due_times(self, name: str = "tick") -> list[datetime]:
        """Which due times of the last and the next days have a job."""
        ids = {job.id for job in self.jobs() if job.schedule == name}
        found = self.get(name)
        begin = found.created - 2 * DAY
        return [
            due
            for due in _until(found.timing.upcoming(begin), begin + 4 * DAY)
            if str(fire_id(name, due)) in ids
        ]

    def set(self, name: str = "tick", **columns: Any) -> None:
        with self.app.database.transaction() as connection:
            connection.execute(update(SCHEDULES).where(SCHEDULES.c.name == name).values(**columns))

    def slept(self, span: timedelta, name: str = "tick") -> datetime:
        """As if no beat had fired it since ``span`` before now, which is returned."""
        found = self.get(name)
        assert found.next_run is not None
        now = found.created
        back = span + (found.next_run - now)
        self.set(
            name, anchor=found.anchor - back, next_run=found.next_run - back, created=found.created - back
        )
        return now

    def end(self, job: str) -> None:
        """Let a job be completed."""
        with self.app.database.transaction() as connection:
            done = {
                "state": "completed",
                "finished": ledger.clock(connection),
                "dispatched": ledger.clock(connection),
            }
            connection.execute(update(JOBS).where(JOBS.c.id == UUID(job)).values(**done))

    def own(self) -> list[Schedule]:
        """All schedules but the platform's."""
        return [each for each in schedules.list_all(app=self.app) if each.task != "maintenance.prune"]

    def sync(self, entries: Mapping[str, Any]) -> None:
        self.app.conf.beat_schedule = dict(entries)
        static_schedules.sync(self.app)


class Sunset(BaseSchedule):
    """A kind of schedule that only its author knows."""


def _until(moments: Iterator[datetime], last: datetime) -> Iterator[datetime]:
    for moment in moments:
        if moment > last:
            return
        yield moment


@contextmanager
def wound(broker: str, database: str) -> Iterator[Clockwork]:
    clockwork = Clockwork(broker, database)
    yield clockwork
    clockwork.app.close()


@pytest.fixture
def clock(redis_url: str, database_url: str) -> Iterator[Clockwork]:
    with wound(redis_url, database_url) as clockwork:
        yield clockwork


@pytest.fixture
def small(redis_url: str, sqlite_url: str) -> Iterator[Clockwork]:
    """On one database: for what is decided before any is asked."""
    with wound(redis_url, sqlite_url) as clockwork:
        yield clockwork


# Fires


def test_a_due_time_makes_one_job_with_the_schedules_options(clock: Clockwork) -> None:
    made = clock.register(
        task="tests.add", args=(1, 2), priority="high", user_id="ann", max_tries=2, timeout=9
    )
    due = made.next_run
    assert due is not None
    assert abs(due - made.created - MINUTE) < SECOND
    assert clock.fire(due - SECOND) == FiringResult(0, (), ())
    assert clock.fire(due).jobs == (fire_id("tick", due),)
    assert clock.fire(due) == FiringResult(0, (), ())
    (job,) = clock.jobs()
    assert (job.task, job.args, job.queue, job.user_id, job.max_tries, job.timeout, job.schedule) == (
        "tests.add",
        [1, 2],
        "high",
        "ann",
        2,
        9,
        "tick",
    )
    assert job.dispatched is not None
    now = clock.get()
    assert (now.last_run, now.next_run, now.run_count, now.last_job_id) == (due, due + MINUTE, 1, job.id)


def test_many_beats_at_once_make_one_job_of_each_due_time(clock: Clockwork) -> None:
    names = [f"tick {number}" for number in range(20)]
    made = [clock.register(name, every=1) for name in names]
    now = made[-1].created + 5 * SECOND
    barrier = Barrier(4)

    def beat(_: int) -> int:
        barrier.wait(60)
        return sum(len(clock.fire(now).jobs) for _ in range(3))

    with ThreadPoolExecutor(4) as pool:
        total = sum(pool.map(beat, range(4)))
    assert total == len(clock.jobs()) == sum(clock.get(name).run_count for name in names)
    assert len({job.id for job in clock.jobs()}) == total >= 20 * 4
    assert clock.fire(now).found == 0


def test_a_turn_that_is_cut_short_leaves_nothing_behind(small: Clockwork) -> None:
    due = small.register().next_run
    assert due is not None
    cut = "BEFORE UPDATE ON background_schedules BEGIN SELECT RAISE(ABORT, 'cut short'); END"
    with small.app.database.statement() as connection:
        connection.exec_driver_sql(f"CREATE TRIGGER cut {cut}")
        with pytest.raises(IntegrityError, match="cut short"):
            small.fire(due)
        connection.exec_driver_sql("DROP TRIGGER cut")
    assert small.jobs() == []
    assert small.get().next_run == due
    assert len(small.fire(due).jobs) == 1


def test_a_job_that_exists_is_not_made_again(clock: Clockwork) -> None:
    """Were the bookkeeping lost by hand, the id would still hold."""
    due = clock.register().next_run
    assert due is not None
    clock.fire(due)
    clock.set(next_run=due, last_run=None)
    clock.fire(due)
    assert len(clock.jobs()) == 1


def test_a_due_time_that_was_fired_cannot_come_back(clock: Clockwork) -> None:
    due = clock.register().next_run
    assert due is not None
    clock.fire(due)
    with pytest.raises(IntegrityError, match="no_due_time_fires_again"):
        clock.set(next_run=due)


def test_an_hour_of_a_sub_minute_interval_does_not_drift(small: Clockwork) -> None:
    first = small.register(every=7.3).next_run
    assert first is not None
    small.pass_time(first, first + HOUR, 0.9 * SECOND)
    assert small.due_times() == [first + n * timedelta(seconds=7.3) for n in range(494)]
    assert small.get().run_count == 494


def test_a_clock_that_is_stepped_back_and_forth_misses_and_doubles_nothing(clock: Clockwork) -> None:
    first = clock.register(every=10, catch_up="all", catch_up_limit=1000).next_run
    assert first is not None
    for offset in (0, 60, 30, 600, 0, 610, -3600, 600, 1200, 900, 1300):
        while clock.fire(first + offset * SECOND).found:
            pass
    assert clock.due_times() == [first + n * 10 * SECOND for n in range(131)]
    assert clock.get().run_count == 131


def test_a_job_waits_for_its_jitter_and_not_its_schedule(clock: Clockwork) -> None:
    due = clock.register(every=60, jitter=30).next_run
    assert due is not None
    clock.fire(due)
    assert clock.get().next_run == due + MINUTE
    (job,) = clock.jobs()
    assert timedelta(0) < job.next_attempt_after - job.queued < timedelta(seconds=30)


def test_once_fires_once(clock: Clockwork) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + HOUR
    clock.register(at=at)
    assert len(clock.fire(at + SECOND).jobs) == 1
    assert clock.get().next_run is None
    assert clock.fire(at + HOUR).found == 0
    clock.register(at=at)  # as a program would that registers its schedules whenever it starts
    assert clock.get().run_count == 1


# Catch-up


@pytest.mark.parametrize(("policy", "fired"), [("skip", []), ("once", [-15]), ("all", [*range(-180, 0, 15)])])
def test_three_hours_without_a_beat(clock: Clockwork, policy: str, fired: list[int]) -> None:
    clock.register(every=15 * MINUTE, catch_up=policy)
    back = clock.slept(3 * HOUR)
    now = back - 10 * MINUTE  # five minutes after the last due time, ten before the next
    clock.set(created=now)
    while clock.fire(now).found:
        pass
    assert [(due - back) / MINUTE for due in clock.due_times()] == fired
    found = clock.get()
    assert found.next_run == back
    assert (found.skip_reason is None) == (policy == "all")
    if policy != "all":
        assert "missed" in str(found.skip_reason)
        assert f"policy {policy}" in str(found.skip_reason)


def test_catch_up_of_all_has_a_bound(clock: Clockwork) -> None:
    clock.register(every=1, catch_up="all", catch_up_limit=50)
    now = clock.slept(3 * HOUR)
    while clock.fire(now).found:
        pass
    assert clock.due_times() == [now - n * SECOND for n in reversed(range(50))]
    assert "limit of 50" in str(clock.get().skip_reason)


@pytest.mark.parametrize("policy", ["skip", "once", "all"])
def test_a_beat_that_takes_over_has_missed_nothing(clock: Clockwork, policy: str) -> None:
    """A few seconds late is no reason to ask the policy."""
    first = clock.register(every=1, catch_up=policy).next_run
    assert first is not None
    clock.fire(first)
    while clock.fire(first + 29 * SECOND).found:
        pass
    assert clock.due_times() == [first + n * SECOND for n in range(30)]
    assert clock.get().skip_reason is None


def test_the_due_time_at_which_a_beat_comes_back_is_not_missed(clock: Clockwork) -> None:
    clock.register(every=HOUR, catch_up="skip")
    now = clock.slept(3 * HOUR)
    clock.fire(now + 5 * SECOND)
    assert clock.due_times() == [now]


# Overlap


def test_no_fire_while_the_job_before_runs(clock: Clockwork) -> None:
    first = clock.register(overlap="skip").next_run
    assert first is not None
    (job,) = clock.fire(first).jobs
    assert clock.fire(first + MINUTE) == FiringResult(1, (), ())
    found = clock.get()
    assert (found.next_run, found.last_run, found.last_skipped) == (first + 2 * MINUTE, first, first + MINUTE)
    assert "had not ended" in str(found.skip_reason)
    clock.end(str(job))
    assert len(clock.fire(first + 2 * MINUTE).jobs) == 1


def test_every_due_time_that_was_passed_over_is_on_record_with_its_reason(clock: Clockwork) -> None:
    first = clock.register(overlap="skip").next_run
    assert first is not None
    job = str(clock.fire(first).jobs[0])
    for number in (1, 2, 3):
        clock.fire(first + number * MINUTE)
    clock.end(job)
    again = str(clock.fire(first + 4 * MINUTE).jobs[0])
    clock.fire(first + 5 * MINUTE)
    clock.end(again)
    clock.fire(first + 3 * HOUR)  # nobody was there meanwhile; the newest is fired
    lost, one, run = clock.skips()
    assert (one[:2], run[:2]) == ((first + 5 * MINUTE,) * 2, (first + MINUTE, first + 3 * MINUTE))
    assert "had not ended" in run[2]
    assert one[2] == run[2]
    assert lost[:2] == (first + 6 * MINUTE, first + 3 * HOUR - MINUTE)
    assert "missed while nothing fired" in lost[2]
    told = skipped("tick", app=clock.app)
    day = sparklines.of_schedule("tick", [replace(told[-1], last=told[-1].first)], app=clock.app)
    assert day.skipped.count(True) == 1, "the hour of that due time alone"
    schedules.unregister("tick", app=clock.app)
    assert clock.skips() == []


def test_what_was_passed_over_is_kept_as_long_as_jobs_are(clock: Clockwork) -> None:
    first = clock.register(overlap="skip").next_run
    assert first is not None
    clock.fire(first)
    clock.fire(first + MINUTE)
    clock.fire(first + 2 * MINUTE)
    assert prune(app=clock.app)["skips"] == 0
    assert clock.skips()[0][:2] == (first + MINUTE, first + 2 * MINUTE)
    with clock.app.database.transaction() as connection:
        connection.execute(update(SCHEDULE_SKIPS).values(last=first - 8 * DAY))
    assert prune(app=clock.app)["skips"] == 1
    assert clock.skips() == []


def test_overlap_is_allowed_unless_it_is_said(clock: Clockwork) -> None:
    first = clock.register().next_run
    assert first is not None
    assert [len(clock.fire(first + n * MINUTE).jobs) for n in range(3)] == [1, 1, 1]


# What is broken


def test_a_schedule_that_cannot_be_fired_does_not_stop_others(clock: Clockwork) -> None:
    due = clock.register("damaged").next_run
    clock.register("refused", task="tests.add", args=(1, 2))
    clock.register("well")
    assert due is not None
    clock.set("damaged", expression="often")
    clock.set("refused", args=[1, 2, 3])
    turn = clock.fire(due + SECOND)
    assert (turn.found, len(turn.jobs), turn.damaged) == (3, 1, ("damaged",))
    assert clock.jobs()[0].schedule == "well"
    refused = clock.get("refused")
    assert refused.next_run is not None
    assert refused.next_run > due + SECOND
    assert "refused: " in str(refused.skip_reason)
    assert clock.skips("refused") == [(refused.last_skipped, refused.last_skipped, refused.skip_reason)]
    assert clock.skips("damaged") == [], "it stays due, and is not passed over"
    clock.set("damaged", expression="60")
    assert "cannot be fired" in str(clock.get("damaged").skip_reason)
    assert len(clock.fire(due + 2 * SECOND).jobs) == 1  # nothing of it was lost


def test_a_task_that_this_process_does_not_know_is_enqueued_all_the_same(clock: Clockwork) -> None:
    due = clock.register().next_run
    assert due is not None
    clock.set(task="mail.of_a_newer_version")
    assert len(clock.fire(due).jobs) == 1


# Registered and changed


def test_a_change_keeps_the_history(clock: Clockwork) -> None:
    first = clock.register().next_run
    assert first is not None
    clock.fire(first)
    before = clock.get()
    after = clock.register(task="tests.add", args=(1, 2))
    assert (after.run_count, after.last_run, after.created, after.next_run) == (
        1,
        first,
        before.created,
        before.next_run,
    )
    moved = clock.register(cron="@hourly")
    assert (moved.run_count, moved.last_run) == (1, first)
    assert moved.next_run is not None
    assert moved.next_run > first


def test_a_change_does_not_lose_a_due_time_that_has_come(clock: Clockwork) -> None:
    clock.register(every=HOUR)
    now = clock.slept(2 * HOUR)
    clock.register(every=HOUR, args=())
    assert clock.get().next_run == now - 2 * HOUR


def test_disabled_is_disabled(clock: Clockwork) -> None:
    due = clock.register().next_run
    assert due is not None
    assert schedules.disable("tick", app=clock.app).next_run is None
    assert schedules.next_runs("tick", app=clock.app) == []
    clock.register(every=30)
    assert not clock.get().enabled
    assert clock.fire(due + HOUR).found == 0
    found = schedules.enable("tick", app=clock.app)
    assert found.next_run is not None
    assert found.next_run > datetime.now(UTC)


def test_an_interval_may_begin_at_once(clock: Clockwork) -> None:
    made = clock.register(every=HOUR, run_immediately=True)
    assert made.next_run is not None
    assert abs(made.next_run - made.created) < SECOND
    clock.fire(made.next_run)
    again = clock.register(every=HOUR, run_immediately=True)
    assert again.next_run == made.next_run + HOUR  # not at every start of whoever registers it


def test_run_now_is_a_job_beside_the_due_times(clock: Clockwork) -> None:
    made = clock.register(overlap="skip")
    schedules.disable("tick", app=clock.app)
    ids = [schedules.run_now("tick", app=clock.app) for _ in range(2)]
    assert [job.id for job in clock.jobs()] == ids
    found = clock.get()
    assert (found.run_count, found.last_run, found.next_run, found.last_job_id) == (2, None, None, ids[1])
    assert made.run_count == 0


def test_next_runs(small: Clockwork) -> None:
    made = small.register(cron="0 3 * * *", timezone="Europe/Berlin")
    runs = schedules.next_runs("tick", 3, app=small.app)
    assert runs[0] == made.next_run
    assert len(set(runs)) == 3
    assert made.description == "At 03:00 (Europe/Berlin)"
    with pytest.raises(BadArgument):
        schedules.next_runs("tick", 0, app=small.app)


def test_unregister(clock: Clockwork) -> None:
    clock.register()
    schedules.unregister("tick", app=clock.app)
    assert schedules.list_all(app=clock.app) == []
    clock.register("nightly")
    with pytest.raises(ScheduleNotFound, match="did you mean 'nightly'"):
        clock.get("nihgtly")
    with pytest.raises(ScheduleNotFound):
        clock.get("\x00")


def test_arguments_come_back_as_they_were(clock: Clockwork) -> None:
    moment = datetime(2026, 5, 1, 12, tzinfo=UTC)
    made = clock.register(task="tests.echo", args=(moment, "ü\x00"), kwargs={"deep": [1, {"x": None}]})
    assert (made.args, made.kwargs) == ([moment, "ü\x00"], {"deep": [1, {"x": None}]})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"task": "tests.nop"}, "did you mean 'tests.noop'"),
        ({"cron": "0 0 30 2 *"}, "cron: "),
        ({"cron": "@reboot"}, "cron: "),
        ({"cron": 5}, "cron: "),
        ({"timezone": "Europe/Berlinn"}, "timezone: "),
        ({"timezone": "../etc/passwd"}, "timezone: "),
        ({"timezone": ""}, "timezone: "),
        ({"every": 0.5}, "every: "),
        ({"every": float("nan")}, "every: "),
        ({"every": True}, "every: "),
        ({"every": 1e12}, "every: "),
        ({"at": datetime(2020, 1, 1, tzinfo=UTC)}, "at: wanted a moment to come"),
        ({"at": "tomorrow"}, "at: "),
        ({"every": 60, "cron": "@daily"}, "one of every, cron and at"),
        ({"end": datetime(2020, 1, 1, tzinfo=UTC)}, "end: "),
        ({"start": "2999-01-02", "end": "2999-01-01"}, "end: "),
        ({"cron": "0 0 29 2 *", "end": "2027-01-01"}, "no due time"),
        ({"catch_up": "twice"}, "catch_up: "),
        ({"catch_up_limit": 0}, "catch_up_limit: "),
        ({"overlap": "queue"}, "overlap: "),
        ({"jitter": -1}, "jitter: "),
        ({"priority": "urgent"}, "priority: "),
        ({"queue": "high.low"}, "queue: "),
        ({"max_tries": 0}, "max_tries: "),
        ({"args": (1,)}, "does not take them"),
        ({"kwargs": {"x": 1}}, "does not take them"),
        ({"task": "tests.echo", "args": ({1, 2},)}, "args[0]"),
        ({"task": "tests.echo", "args": ("x" * 2_000_000,)}, "bytes, the limit is"),
        ({"cron": "@daily", "run_immediately": True}, "run_immediately: "),
        ({"task": 5}, "task: "),
        ({"args": "text"}, "args: "),
        ({"kwargs": [1]}, "kwargs: "),
        ({"timezone": 5}, "timezone: "),
        ({"enabled": "no"}, "enabled: "),
        ({"name": 5}, "name: "),
        ({"name": ""}, "name: "),
        ({"name": "x" * 300}, "name: "),
        ({"name": "a\nb"}, "name: "),
        ({"name": "\x1b[31m"}, "name: "),
        ({"name": "nul\x00"}, "name: "),
        ({"timezone": "localtime"}, "which machines differ in"),
        ({"timezone": "posix/Europe/Berlin"}, "which machines differ in"),
    ],
)
def test_what_cannot_be_meant_is_refused(small: Clockwork, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        small.register(**options)
    assert problem in str(caught.value)
    assert schedules.list_all(app=small.app) == []


def test_every_problem_is_named_at_once(small: Clockwork) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        small.register(
            task="tests.nop", cron="often", timezone="Here", end="2020-01-01", overlap="queue", jitter=-1
        )
    assert len(caught.value.problems) == 6


# Static schedules


def test_static_schedules_in_every_form_of_celerys(small: Clockwork) -> None:
    small.sync(
        {
            "seconds": {
                "task": "tests.noop",
                "schedule": 30.0,
                "options": {"priority": "low", "expires": 10},
            },
            "timedelta": {"task": "tests.noop", "schedule": MINUTE},
            "schedule": {"task": "tests.noop", "schedule": schedule(90.0)},
            "crontab": {
                "task": "tests.add",
                "schedule": crontab("*/15", "8-10", day_of_week="mon-fri"),
                "args": (1, 2),
            },
            "both days": {
                "task": "tests.noop",
                "schedule": crontab(0, 0, day_of_month="1-7", day_of_week="monday"),
            },
            "text": {
                "task": "tests.noop",
                "schedule": "0 3 * * *",
                "timezone": "Europe/Berlin",
                "overlap": "skip",
                "priority": "high",
                "max_tries": 2,
                "expires": MINUTE,
                "options": {"priority": "low", "user_id": "7"},
            },
        }
    )
    found = {each.name: each for each in small.own()}
    assert {name: each.expression for name, each in found.items()} == {
        "seconds": "30",
        "timedelta": "60",
        "schedule": "90",
        "crontab": "0,15,30,45 8,9,10 * * 1,2,3,4,5",
        "both days": "0 0 1,2,3,4,5,6,7 * 1 and",
        "text": "0 3 * * *",
    }
    assert all(each.static and each.next_run for each in found.values())
    assert found["seconds"].options == {"priority": "low", "expires": 10}
    assert found["text"].options == {"priority": "high", "max_tries": 2, "expires": 60, "user_id": "7"}


def test_static_schedules_that_cannot_work_are_named(
    small: Clockwork, caplog: pytest.LogCaptureFixture
) -> None:
    small.sync(
        {
            "sun": {"task": "tests.noop", "schedule": Sunset(app=small.app)},
            "typo": {"task": "tests.noop", "schedule": 1, "options": {"prioritiy": "low"}},
            "surplus": {"task": "tests.noop", "schedule": 1, "catchup": "all"},
            "unknown": {"task": "tests.nop", "schedule": 1},
            "nothing": None,
            "shapes": {"task": "tests.noop", "schedule": 1, "args": 5, "options": "low"},
            "well": {"task": "tests.noop", "schedule": 1},
        }
    )
    assert [each.name for each in small.own()] == ["well"]
    for sentence in ("Sunset", "prioritiy", "catchup", "did you mean", "wanted a dict", "found int"):
        assert sentence in caplog.text


def test_add_periodic_task_becomes_a_static_schedule(small: Clockwork) -> None:
    noop = small.app.tasks["tests.noop"]
    small.app.add_periodic_task(10.0, noop.s(), name="periodic", priority="high")
    static_schedules.sync(small.app)
    found = small.get("periodic")
    assert (found.static, found.expression, found.options) == (True, "10", {"priority": "high"})


def test_a_static_schedule_that_was_disabled_stays_so(clock: Clockwork) -> None:
    entries = {"nightly": {"task": "tests.noop", "schedule": 60}}
    clock.sync(entries)
    schedules.disable("nightly", app=clock.app)
    clock.sync(entries)
    assert not clock.get("nightly").enabled
    clock.sync({"nightly": {"task": "tests.noop", "schedule": 90}})
    clock.sync({})
    assert clock.own() == []
    clock.sync(entries)
    found = clock.get("nightly")
    assert (found.enabled, found.next_run, found.retired) == (False, None, None)


def test_a_static_schedule_that_is_taken_out_fires_no_more(clock: Clockwork) -> None:
    clock.sync(
        {"nightly": {"task": "tests.noop", "schedule": 60}, "other": {"task": "tests.noop", "schedule": 60}}
    )
    due = clock.get("nightly").next_run
    assert due is not None
    clock.sync({"other": {"task": "tests.noop", "schedule": 60}})
    assert len(clock.fire(due + SECOND).jobs) == 1
    assert clock.get("nightly").retired is not None


def test_a_start_does_not_move_what_is_due(clock: Clockwork) -> None:
    """A beat that starts after three hours must still see what was missed."""
    entries = {"tick": {"task": "tests.noop", "schedule": 3600}}
    clock.sync(entries)
    now = clock.slept(3 * HOUR)
    clock.sync(entries)
    assert clock.get().next_run == now - 3 * HOUR


def test_a_static_schedule_is_changed_in_its_file(small: Clockwork) -> None:
    small.sync({"tick": {"task": "tests.noop", "schedule": 60}})
    for change in (small.register, lambda: schedules.unregister("tick", app=small.app)):
        with pytest.raises(InvalidSchedule, match="static"):
            change()


def test_a_proposal_is_a_value() -> None:
    assert ScheduleRequest(name="a", task="b") == ScheduleRequest(name="a", task="b")
