"""Beats are killed, and what they stand on: no due time is missed, none makes two jobs."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any
from uuid import UUID

import pytest
import redis
from redbeat.schedulers import RedBeatSchedulerEntry
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from celeriac import schedules
from celeriac.ids import fire_id
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes.schedule_rows import next_due
from celeriac.schedules import Schedule
from tests.acceptance.faults.house import House, reachable, until_reachable
from tests.support import wait_until
from tests.workers import CeleryProcess

TAKEOVER = 15.0  # seconds until another beat fires
BACK = 10.0  # seconds until entries that Redis has lost are there again
LATE = 2.5  # seconds that a fire may be behind its due time when nothing is wrong
PREFIX = "celeriac:redbeat:"


class Beats:
    """Beats of one house, and its schedules: some every second, one that is not seen to be fired."""

    def __init__(self, house: House, stack: ExitStack) -> None:
        self.house = house
        self._stack = stack
        self._env = house.environment() | {"CELERIAC_TASK_MODULES": "tests.jobs"}
        for number in range(3):
            self.register(f"second {number}", every=1, catch_up="all", catch_up_limit=10_000)
        self.register("slow", every=3.5, catch_up="all")
        self.register("nightly", cron="0 3 * * *", timezone="Europe/Berlin")

    def register(self, name: str, **options: Any) -> None:
        schedules.register(name, "tests.noop", app=self.house.app, **options)

    def start(self) -> CeleryProcess:
        beat = CeleryProcess("beat", ["--pidfile=", "--loglevel", "INFO"], env=self._env)
        return self._stack.enter_context(beat)

    def leads(self) -> CeleryProcess:
        """A beat that leads."""
        return self.start().logged("Acquired lock", within=30)

    def all(self) -> list[Schedule]:
        return schedules.list_all(app=self.house.app)

    def fired(self, name: str = "second 0") -> int:
        return schedules.get(name, app=self.house.app).run_count

    def fire(self, count: int = 3, *, within: float) -> None:
        """Wait until ``count`` more due times of a schedule of every second were fired."""
        before = self.fired()
        wait_until(lambda: self.fired() >= before + count, within=within, saying=f"{count} more fires")

    def keep_up(self) -> None:
        """Wait until nothing that is due is left to be fired."""

        def behind() -> float:
            """Seconds since the first due time of all; read anew where the database has been away."""
            with suppress(SQLAlchemyError), self.house.database.reading() as connection:
                now, first = next_due(connection)
                return 0.0 if first is None else (now - first).total_seconds()
            return math.inf

        wait_until(lambda: behind() < LATE, within=30, saying="all due times are fired")
        wait_until(lambda: reachable(self.house.app.database), within=30, saying="the producer reads")

    def audit(self) -> int:
        """Each due time up to the last that was fired made its one job; returns how many there are."""
        total = 0
        for found in self.all():
            wanted, since = _due_times(found)
            made = self._jobs(found.name) - _ids(found, since)  # beats may go on meanwhile
            assert made == _ids(found, wanted), f"{found.name}: missed or doubled"
            assert found.run_count == len(wanted)
            total += len(wanted)
        return total

    def _jobs(self, name: str) -> set[UUID]:
        with self.house.database.reading() as connection:
            found = list(connection.execute(select(JOBS.c.id).where(JOBS.c.schedule == name)).scalars())
        assert len(found) == len(set(found))
        return set(found)


def _due_times(found: Schedule) -> tuple[list[datetime], list[datetime]]:
    """Those up to the last that was fired, and the next few."""
    if found.last_run is None:
        return [], []
    last = found.last_run
    wanted = takewhile(lambda due: due <= last, found.timing.upcoming(found.anchor - timedelta(seconds=1)))
    return list(wanted), list(islice(found.timing.upcoming(last), 30))


def _ids(found: Schedule, due_times: list[datetime]) -> set[UUID]:
    return {fire_id(found.name, due) for due in due_times}


@pytest.fixture
def beats(house: House) -> Iterator[Beats]:
    with ExitStack() as stack:
        yield Beats(house, stack)


def entries(house: House) -> set[str]:
    with house.broker.client() as client:
        return {bytes(key).decode() for key in client.zrange(f"{PREFIX}:schedule", 0, -1)}


def test_another_beat_takes_over_from_one_that_is_killed(beats: Beats) -> None:
    leader = beats.leads()
    standby = beats.start().logged("Starting", within=30)
    beats.fire(within=10)
    leader.kill()
    beats.fire(within=TAKEOVER)
    standby.logged("Acquired lock", within=TAKEOVER)
    beats.keep_up()
    assert beats.audit() > 12


def test_entries_are_back_after_a_flush_and_a_restart(beats: Beats) -> None:
    """A projection that redbeat itself can read, with the fires going on meanwhile."""
    beat = beats.leads()
    names = {found.name for found in beats.all()} | {"nightly"}
    wanted = {f"{PREFIX}{name}" for name in names}

    def there() -> bool:
        try:
            return wanted <= entries(beats.house)
        except redis.RedisError:
            return False

    wait_until(there, within=BACK, saying="the entries are in Redis")
    with beats.house.broker.client() as client:
        client.flushall()
    wait_until(there, within=BACK, saying="the entries are back after FLUSHALL")
    beats.house.broker.kill()
    beats.fire(within=10)
    beats.house.broker.restart(empty=True)
    wait_until(there, within=BACK, saying="the entries are back in an empty Redis")
    entry = RedBeatSchedulerEntry.from_key(f"{PREFIX}nightly", app=beats.house.app)
    assert (entry.task, entry.enabled) == ("tests.noop", True)
    schedules.unregister("nightly", app=beats.house.app)
    wait_until(lambda: f"{PREFIX}nightly" not in entries(beats.house), within=BACK, saying="it is gone")
    assert beat.running
    beats.keep_up()
    beats.audit()


def test_two_beats_outlive_redis(beats: Beats) -> None:
    """Both fire while nobody can say who leads, and one leads again."""
    both = [beats.leads(), beats.start().logged("Starting", within=30)]
    beats.fire(within=10)
    beats.house.broker.kill()
    beats.fire(4, within=10)
    beats.house.broker.restart()
    beats.fire(4, within=10)
    beats.keep_up()
    assert all(beat.running for beat in both)
    beats.audit()
    for beat in both:
        beat.term()
    assert [beat.wait(15) for beat in both] == [0, 0]


def test_a_beat_ends_well_without_redis(beats: Beats) -> None:
    beat = beats.leads()
    beats.house.broker.kill()
    beats.fire(within=10)
    beat.term()
    assert beat.wait(15) == 0


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_beat_is_killed_at_random_points_over_many_ticks(beats: Beats) -> None:
    chance = random.Random(4)
    for number in range(200):
        beats.register(f"many {number}", every=1 + number % 3, catch_up="all", catch_up_limit=10_000)
    for _ in range(25):
        beat = beats.start().logged("Starting", within=30)
        time.sleep(chance.random() * 2)
        beat.kill()
    last = beats.start()
    beats.keep_up()
    last.kill()
    assert beats.audit() > 2000


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_two_beats_are_killed_in_turn(beats: Beats) -> None:
    chance = random.Random(5)
    pair = [beats.leads(), beats.start()]
    for _ in range(6):
        time.sleep(chance.random() * 6)
        pair.pop(0).kill()
        pair.append(beats.start())
        beats.fire(within=TAKEOVER)
    beats.keep_up()
    assert beats.audit() > 30


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_redis_is_away_for_twenty_seconds(beats: Beats, fault: str) -> None:
    both = [beats.leads(), beats.start().logged("Starting", within=30)]
    beats.fire(within=10)
    broker = beats.house.broker
    broker.kill() if fault == "killed" else broker.freeze()
    for _ in range(4):
        beats.fire(3, within=6)  # due times are met meanwhile
    time.sleep(5)
    broker.restart() if fault == "killed" else broker.thaw()
    beats.fire(5, within=10)
    beats.keep_up()
    assert all(beat.running for beat in both)
    beats.audit()


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_the_database_is_away_for_twenty_seconds(beats: Beats) -> None:
    beat = beats.leads()
    beats.fire(within=10)
    beats.house.postgres.kill()
    time.sleep(20)
    beats.house.postgres.restart()
    until_reachable(beats.house.database)
    beats.keep_up()
    assert beat.running
    assert beats.audit() > 60


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_the_leader_is_frozen(beats: Beats) -> None:
    """It wakes up in the belief that it leads."""
    leader = beats.leads()
    beats.start().logged("Starting", within=30)
    beats.fire(within=10)
    leader.freeze()
    beats.fire(within=TAKEOVER)
    leader.thaw()
    beats.fire(8, within=15)
    beats.keep_up()
    beats.audit()
