"""The doctor's judgements: each failure is shown to it once, and it finds it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from celeriac.errors import LedgerTooNew, MigrationNeeded
from celeriac.ledger.reads.health import Server
from celeriac.ledger.schema.lanes import place_of
from celeriac.ledger.upkeep.worker_rows import WorkerSeen
from celeriac.operate.doctor import (
    beat_check,
    broker_check,
    database_check,
    ledger_check,
    outcomes_check,
    root_causes,
    schedules_check,
    sentinel_check,
    settings_check,
    status,
    workers_check,
)
from celeriac.operate.doctor.finding import Area, Finding, Level, fail, ok, warn
from celeriac.operate.overview import QueueStatus
from celeriac.settings.platform import Settings
from tests.signers import signer

NOW = datetime(2030, 1, 1, tzinfo=UTC)
OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
MINUTE = timedelta(minutes=1)


def found(findings: Sequence[Finding]) -> dict[str, Level]:
    assert all((finding.level is OK) == (finding.remedy is None) for finding in findings)
    return {finding.check: finding.level for finding in findings}


def test_the_worst_level_is_the_status() -> None:
    well, odd = ok(Area.BEAT, "x", "y"), warn(Area.BEAT, "x", "y", remedy="z")
    assert status([well]) == 0
    assert status([well, odd]) == 1
    assert status([odd, fail(Area.BEAT, "x", "y", remedy="z"), well]) == 2


# Settings


def given(**values: Any) -> dict[str, Level]:
    fixed = {"broker_url": "redis://127.0.0.1:1/0", "database_url": "postgresql://h/n", "hard_limit": 3600}
    return found(settings_check.judge(Settings(**{**fixed, **values})))


def test_settings_with_a_limit_for_jobs_that_hang_are_well() -> None:
    assert given() == {"pairs": OK}


@pytest.mark.parametrize(
    ("values", "check"),
    [
        ({"retry_base": 7200}, "retries"),
        ({"hard_limit": None}, "time limit"),
        ({"timeout": 7200}, "time limit"),
        ({"keep_dead_days": 3}, "retention"),
        ({"keep_results_days": 8}, "retention"),
        ({"database_pool": 1}, "database pool"),
        ({"misfire_grace": 2}, "misfire grace"),
        ({"payload_limit": 20_000_000}, "payload limit"),
        ({"database_url": "sqlite:///x/ledger.db", "broker_url": "redis://:pw@far/0"}, "reach"),
        ({"broker_url": None, "database_url": "postgresql://far/n"}, "reach"),
        ({"broker_url": "redis://far/0"}, "password"),
        ({"result_backend": "redis://far/0"}, "password"),
    ],
)
def test_an_odd_pair_of_settings_is_found(values: dict[str, Any], check: str, tmp_path: Any) -> None:
    assert given(data_dir=tmp_path, **values) == {check: WARN}


@pytest.mark.parametrize(("days", "level"), [(40, {"pairs": OK}), (20, {"certificate": WARN})])
def test_a_certificate_is_renewed_in_time(days: int, level: dict[str, Level], tmp_path: Path) -> None:
    assert given(**signer(tmp_path, days=days).settings) == level


def test_a_password_is_not_said() -> None:
    told = settings_check.judge(
        Settings(broker_url="redis://:hunter2@far/0", database_url="sqlite:///x/ledger.db")
    )
    assert told
    assert "hunter2" not in repr(told)


# Broker


def of_broker(**values: Any) -> dict[str, Level]:
    fixed: dict[str, Any] = {"version": "7.2.4", "policy": "noeviction", "used": 10, "most": 100}
    return found(broker_check.judge(broker_check.Facts(**{**fixed, **values})))


def test_a_sound_broker_is_well() -> None:
    assert of_broker() == {"version": OK, "eviction": OK, "memory": OK}
    assert of_broker(most=0, used=10**12)["memory"] is OK


@pytest.mark.parametrize(
    ("values", "check", "level"),
    [
        ({"version": "6.0.16"}, "version", FAIL),
        ({"version": ""}, "version", FAIL),
        ({"policy": "allkeys-lru"}, "eviction", FAIL),
        ({"policy": None}, "eviction", WARN),
        ({"used": 80}, "memory", WARN),
        ({"used": 95}, "memory", FAIL),
        ({"results": "ConnectionError"}, "results", FAIL),
    ],
)
def test_an_ill_broker_is_found(values: dict[str, Any], check: str, level: Level) -> None:
    assert of_broker(**values)[check] is level


# Database


def worker(**values: Any) -> WorkerSeen:
    fixed: dict[str, Any] = {
        "id": UUID(int=1),
        "hostname": "celery@one",
        "pid": 7,
        "pool": "prefork",
        "concurrency": 4,
        "queues": ["normal"],
        "version": "1.0",
        "started": NOW,
        "heartbeat": NOW,
        "stopped": None,
        "silent": timedelta(0),
        "running": 0,
    }
    return WorkerSeen(**{**fixed, **values})


def server(connections: int = 5, version: tuple[int, ...] = (16, 4)) -> Server:
    return Server(dialect="postgresql", version=version, connections=connections, most=97)


def of_database(**values: Any) -> dict[str, Level]:
    fixed: dict[str, Any] = {"server": server(), "revision": "0003", "wanted": "0003", "skew": timedelta(0)}
    return found(database_check.judge(database_check.Facts(**{**fixed, **values})))


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ({}, {"sentinels": Level.OK}),
        ({"answer": 2}, {"sentinels": Level.WARN}),
        ({"answer": 1}, {"sentinels": Level.FAIL}),
        ({"replicas": 0}, {"sentinels": Level.OK, "replicas": Level.WARN}),
        ({"answer": 0, "quorum": 0, "replicas": 0}, {"sentinels": Level.FAIL}),
    ],
)
def test_sentinels_that_cannot_act_are_found(values: dict[str, int], levels: dict[str, Level]) -> None:
    facts = sentinel_check.Facts(**{"asked": 3, "answer": 3, "quorum": 2, "replicas": 1, **values})
    assert {one.check: one.level for one in sentinel_check.judge(facts)} == levels


def test_a_sound_database_is_well() -> None:
    assert of_database() == {"version": OK, "migrations": OK, "clock": OK, "connections": OK}
    sqlite = Server(dialect="sqlite", version=(3, 40, 1))
    assert of_database(server=sqlite) == {"version": OK, "migrations": OK, "clock": OK}


@pytest.mark.parametrize(
    ("values", "check", "level"),
    [
        ({"server": server(version=(13, 9))}, "version", FAIL),
        ({"server": Server(dialect="sqlite", version=(3, 34, 1))}, "version", FAIL),
        ({"revision": "0002", "unfit": MigrationNeeded("0002", "0003")}, "migrations", FAIL),
        ({"revision": None, "unfit": MigrationNeeded(None, "0003")}, "migrations", FAIL),
        ({"revision": "0009", "unfit": LedgerTooNew("0009", "0003")}, "migrations", FAIL),
        ({"revision": "0004", "newer": True}, "migrations", WARN),
        ({"skew": timedelta(seconds=-3)}, "clock", WARN),
        ({"skew": timedelta(minutes=2)}, "clock", FAIL),
        ({"server": server(connections=80)}, "connections", WARN),
        ({"server": server(connections=97)}, "connections", FAIL),
        ({"workers": [worker(concurrency=80)]}, "connections", WARN),
        ({"workers": [worker(concurrency=48), worker(concurrency=48)]}, "connections", FAIL),
    ],
)
def test_an_ill_database_is_found(values: dict[str, Any], check: str, level: Level) -> None:
    assert of_database(**values)[check] is level


@pytest.mark.parametrize(("seconds", "told"), [(-0.04, "+0.0 s"), (0.04, "+0.0 s"), (-0.3, "-0.3 s")])
def test_a_clock_that_is_right_is_told_without_a_minus(seconds: float, told: str) -> None:
    skew = timedelta(seconds=seconds)
    facts = database_check.Facts(server=server(), revision="0003", wanted="0003", skew=skew)
    assert any(told in finding.sentence for finding in database_check.judge(facts))


def test_threads_share_the_pool_of_their_process() -> None:
    facts = database_check.Facts(
        server=server(),
        revision=None,
        wanted="",
        skew=timedelta(0),
        workers=[worker(pool="thread", concurrency=50), worker(concurrency=3)],
        pool=5,
    )
    assert database_check.needed(facts) == 5 + 2 + 3


def test_the_burst_pool_claims_through_a_connection_of_its_own() -> None:
    fixed: dict[str, Any] = {
        "server": server(),
        "revision": None,
        "wanted": "",
        "skew": timedelta(0),
        "pool": 5,
    }
    needed = [
        database_check.needed(database_check.Facts(**fixed, workers=[worker(pool=pool)]))
        for pool in ("prefork", "burst")
    ]
    assert needed[1] == needed[0] + 1


# Workers


def queue(name: str, *, due: int = 0, consumers: int = 1) -> QueueStatus:
    return QueueStatus(
        name=name,
        lane=place_of(name).lane,
        level=place_of(name).level or "normal",
        due=due,
        later=0,
        parked=0,
        running=0,
        oldest=None,
        accepted=0,
        completed=0,
        failed=0,
        sent=0,
        in_broker=0,
        consumers=consumers,
    )


def of_workers(**values: Any) -> dict[str, Level]:
    fixed: dict[str, Any] = {
        "workers": [worker(), worker(hostname="celery@two")],
        "queues": [queue("normal")],
        "version": "1.0",
        "shared": True,
    }
    return found(workers_check.judge(workers_check.Facts(**{**fixed, **values})))


def test_sound_workers_are_well() -> None:
    assert of_workers() == {"alive": OK, "queues": OK, "versions": OK}


@pytest.mark.parametrize(
    ("values", "check", "level"),
    [
        ({"workers": []}, "alive", FAIL),
        ({"queues": [queue("low", consumers=0)]}, "queues", WARN),
        ({"queues": [queue("low", consumers=0, due=3)]}, "queues", FAIL),
        ({"workers": [worker(), worker(version="0.9")]}, "versions", WARN),
        ({"version": "1.1"}, "versions", WARN),
        ({"shared": False}, "machines", FAIL),
    ],
)
def test_ill_workers_are_found(values: dict[str, Any], check: str, level: Level) -> None:
    assert of_workers(**values)[check] is level


def test_a_worker_that_cannot_record_outcomes_is_found() -> None:
    assert found(outcomes_check.judge(outcomes_check.Facts(troubled=[]))) == {"outcomes": OK}
    (finding,) = outcomes_check.judge(outcomes_check.Facts(troubled=[("celery@one", "refused:\nno")]))
    assert (finding.level, finding.sentence.startswith("celery@one: refused"), "\n" in finding.sentence) == (
        FAIL,
        True,
        False,
    )


# Beat


def of_beat(**values: Any) -> dict[str, Level]:
    fixed: dict[str, Any] = {"schedules": 3, "lock_left": 5.5, "lock_timeout": 6.0, "projected": True}
    return found(beat_check.judge(beat_check.Facts(**{**fixed, **values})))


def test_a_beat_that_leads_is_well() -> None:
    assert of_beat() == {"leader": OK, "projection": OK}


@pytest.mark.parametrize(
    ("values", "check", "level"),
    [
        ({"lock_left": None}, "leader", FAIL),
        ({"lock_left": None, "schedules": 0}, "leader", WARN),
        ({"lock_left": 1.0}, "leader", WARN),
        ({"projected": False}, "projection", WARN),
    ],
)
def test_an_ill_beat_is_found(values: dict[str, Any], check: str, level: Level) -> None:
    assert of_beat(**values)[check] is level


# Ledger


def of_ledger(**values: Any) -> dict[str, Level]:
    fixed: dict[str, Any] = {
        "oldest": None,
        "unsent": 0,
        "unclaimed": {},
        "in_broker": {},
        "orphans": 0,
        "failed": 0,
    }
    return found(ledger_check.judge(ledger_check.Facts(**{**fixed, **values})))


def test_a_sound_ledger_is_well() -> None:
    assert set(of_ledger(oldest=MINUTE).values()) == {OK}


def test_a_backlog_is_no_strand() -> None:
    assert of_ledger(unclaimed={"low": 9}, in_broker={"low": 9})["stranded"] is OK
    assert of_ledger(unclaimed={"low": 9})["stranded"] is OK  # the broker could not be asked


@pytest.mark.parametrize(
    ("values", "check", "level"),
    [
        ({"oldest": 16 * MINUTE}, "oldest", WARN),
        ({"unsent": 1}, "overdue", FAIL),
        ({"unclaimed": {"low": 2}, "in_broker": {"low": 0}}, "stranded", WARN),
        ({"orphans": 1}, "orphans", FAIL),
        ({"silent": 1, "running": 1}, "orphans", WARN),
        ({"failed": 1}, "dead letters", WARN),
    ],
)
def test_an_ill_ledger_is_found(values: dict[str, Any], check: str, level: Level) -> None:
    assert of_ledger(**values)[check] is level


@pytest.mark.parametrize(
    ("running", "sentence"), [(0, "no job is running"), (3, "every running job has a live worker")]
)
def test_of_jobs_that_run_only_what_is_so_is_said(running: int, sentence: str) -> None:
    facts = ledger_check.Facts(
        oldest=None, unsent=0, unclaimed={}, in_broker={}, orphans=0, failed=0, running=running
    )
    assert sentence in [finding.sentence for finding in ledger_check.judge(facts)]


# Causes


def unasked(area: Area, check: str = "ledger") -> Finding:
    return fail(area, check, f"the {check} cannot be asked", remedy="see its URL")


def names(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(str(finding.area), finding.check) for finding in findings]


def test_a_database_that_is_away_is_told_once() -> None:
    areas = (Area.DATABASE, Area.WORKERS, Area.BEAT, Area.LEDGER, Area.SCHEDULES)
    broker_is_well = ok(Area.BROKER, "version", "speaks Redis")
    (first, told) = root_causes.merged([broker_is_well, *map(unasked, areas)])
    assert first == broker_is_well
    assert (told.area, told.level, told.remedy) == (Area.DATABASE, FAIL, "see its URL")
    assert told.sentence == (
        "the ledger cannot be asked; so nothing can be said of workers, beat, ledger and schedules"
    )


def test_a_server_that_is_away_is_told_under_its_own_area_whoever_asked_first() -> None:
    fine = ok(Area.BROKER, "version", "speaks Redis")
    found = root_causes.merged([fine, unasked(Area.BROKER), unasked(Area.DATABASE), unasked(Area.BEAT)])
    assert names(found) == [("broker", "version"), ("database", "ledger")]
    assert found[1].sentence == "the ledger cannot be asked; so nothing can be said of beat"


def test_two_checks_of_one_area_tell_once_that_its_server_is_away() -> None:
    twice = [unasked(Area.BROKER, "broker"), unasked(Area.BROKER, "broker")]
    told, _ = root_causes.merged([*twice, ok(Area.DATABASE, "version", "PostgreSQL")])
    assert told.sentence == "the broker cannot be asked"


def test_tables_that_are_missing_are_told_once() -> None:
    missing = fail(Area.DATABASE, "migrations", "the tables are at none", remedy="db upgrade")
    (told,) = root_causes.merged([missing, unasked(Area.WORKERS), unasked(Area.LEDGER)])
    assert (told.check, told.remedy) == ("migrations", "db upgrade")
    assert told.sentence.endswith("so nothing can be said of workers and ledger")


def test_a_broker_and_a_database_are_two_causes() -> None:
    found = root_causes.merged(
        [
            unasked(Area.BROKER, "broker"),
            unasked(Area.DATABASE),
            unasked(Area.BEAT, "broker"),
            unasked(Area.LEDGER),
        ]
    )
    assert names(found) == [("broker", "broker"), ("database", "ledger")]


def test_what_follows_from_no_worker_is_said_with_it() -> None:
    nobody = fail(Area.WORKERS, "alive", "no worker lives", remedy="celery -A app worker")
    late = fail(Area.LEDGER, "overdue", "3 jobs overdue", remedy="start a worker")
    dead = warn(Area.LEDGER, "dead letters", "2 of the last hour", remedy="look")
    fine = ok(Area.LEDGER, "stranded", "no message is missing")
    found = root_causes.merged([nobody, late, fine, dead])
    assert names(found) == [("workers", "alive"), ("ledger", "stranded"), ("ledger", "dead letters")]
    assert found[0].sentence == "no worker lives; 3 jobs overdue"
    assert root_causes.merged([ok(Area.WORKERS, "alive", "1 worker"), late])[1] == late


# Schedules


def of_schedules(**values: Any) -> dict[str, Level]:
    fixed: dict[str, Any] = {"name": "n", "task": "t", "known": True, "next_run": NOW + MINUTE}
    planned = schedules_check.ScheduleFacts(**{**fixed, **values})
    facts = schedules_check.Facts(clock=NOW, grace=MINUTE / 2, schedules=[planned])
    return found(schedules_check.judge(facts))


def test_sound_schedules_are_well() -> None:
    assert of_schedules() == {"all": OK}
    assert of_schedules(trouble="overlap: the last job runs") == {"all": OK}


@pytest.mark.parametrize(
    ("values", "check", "level"),
    [
        ({"next_run": NOW - MINUTE}, "overdue", FAIL),
        ({"trouble": "cannot be fired: no such time zone"}, "damaged", FAIL),
        ({"trouble": "refused: args[0]: set is not JSON"}, "refused", FAIL),
        ({"known": False}, "tasks", WARN),
    ],
)
def test_an_ill_schedule_is_found(values: dict[str, Any], check: str, level: Level) -> None:
    assert of_schedules(**values) == {check: level}


def test_a_schedules_name_cannot_forge_a_line() -> None:
    planned = schedules_check.ScheduleFacts(name="a\n\x1b[2Jok", task="t", known=False, next_run=None)
    (told,) = schedules_check.judge(schedules_check.Facts(clock=NOW, grace=MINUTE, schedules=[planned]))
    assert "\n" not in told.sentence
    assert "\x1b" not in told.sentence
