"""``celery -A app doctor`` on real servers and both databases: what is wrong there, it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import insert, make_url

from celeriac import __version__
from celeriac import schedules as registry
from celeriac.application import Celeriac
from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.models import JOBS, SCHEDULES, WORKERS
from celeriac.operate.doctor import Finding, Level, examine
from celeriac.priorities import QUEUES
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import build
from tests.commands import call, said, told
from tests.servers import ValkeyServer
from tests.stock import before


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    settings = Settings(
        database_url=database_url, broker_url=redis_url, schedule_module="none", hard_limit=3600
    )
    made = build(settings, name="doctor", set_as_current=False)

    @made.task(name="mail.send", shared=False)
    def send() -> None: ...

    yield made
    made.database.close()


def levels(app: Celeriac) -> dict[tuple[str, str], Level]:
    return {(str(one.area), one.check): one.level for one in examine(app)}


def write(app: Celeriac, table: object, *rows: dict[str, object]) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(table), list(rows))


def a_worker(app: Celeriac) -> None:
    write(app, WORKERS, stock.worker(queues=list(QUEUES), version=__version__, heartbeat=before(0)))


def a_leader(app: Celeriac) -> None:
    from redbeat.schedulers import RedBeatConfig, get_redis

    get_redis(app).set(RedBeatConfig(app).lock_key, "someone", px=6000)


def test_all_is_well_where_all_is_well(app: Celeriac) -> None:
    a_worker(app)
    a_leader(app)
    found = examine(app)
    assert [one for one in found if one.level is not Level.OK] == []
    assert {str(one.area) for one in found} == {
        "settings",
        "broker",
        "database",
        "workers",
        "beat",
        "ledger",
        "schedules",
    }
    assert call(app, "doctor").exit_code == 0


def test_an_empty_house_fails(app: Celeriac) -> None:
    found = call(app, "doctor")
    assert found.exit_code == 2
    assert "fail workers   alive: no worker lives" in found.stdout
    assert "→ celery -A app worker" in found.stdout


def test_a_warning_alone_is_1(app: Celeriac) -> None:
    a_worker(app)
    assert call(app, "doctor").exit_code == 1  # no beat, and no schedule that needs one
    assert told(app, "doctor")["status"] == "warn"


def test_jobs_that_should_have_moved_are_found(app: Celeriac) -> None:
    long_ago = before(3600)
    gone = stock.worker(id=uuid4(), heartbeat=before(300))
    write(app, WORKERS, gone)
    a_worker(app)
    due = {"queued": long_ago, "next_attempt_after": long_ago}
    write(
        app,
        JOBS,
        stock.pending(**due, dispatched=None, dispatch_count=0),
        stock.pending(**due, dispatched=long_ago),
        stock.job(state="running", worker_id=gone["id"], finished=None, result=None),
        stock.job(state="failed", finished=before(5), result=None),
    )
    found = levels(app)
    assert found["ledger", "oldest"] is Level.WARN
    assert found["ledger", "overdue"] is Level.FAIL
    assert found["ledger", "stranded"] is Level.WARN
    assert found["ledger", "orphans"] is Level.FAIL
    assert found["ledger", "dead letters"] is Level.WARN


def test_a_running_job_of_a_living_worker_is_no_orphan(app: Celeriac) -> None:
    a_worker(app)
    write(app, JOBS, stock.job(state="running", worker_id=stock.WORKER, finished=None, result=None))
    assert levels(app)["ledger", "orphans"] is Level.OK


def test_schedules_in_trouble_are_found(app: Celeriac) -> None:
    for name in ("late", "damaged", "refused"):
        registry.register(name, "mail.send", every=3600, app=app)
    with app.database.transaction() as connection:
        _change(connection, "late", next_run=before(600))
        _change(connection, "damaged", skip_reason="cannot be fired: x", last_skipped=before(5))
        _change(connection, "refused", skip_reason="refused: x", last_skipped=before(5))
    found = levels(app)
    assert {check for area, check in found if area == "schedules"} == {"damaged", "refused"}
    assert found["beat", "leader"] is Level.FAIL
    assert "overdue, for up to" in call(app, "doctor").stdout  # which follows from that


def test_trouble_that_a_fire_has_overtaken_is_over(app: Celeriac) -> None:
    registry.register("better", "mail.send", every=3600, app=app)
    with app.database.transaction() as connection:
        _change(connection, "better", skip_reason="refused: x", last_skipped=before(60), last_run=before(5))
    assert levels(app)["schedules", "all"] is Level.OK


def _change(connection: object, name: str, **values: object) -> None:
    from sqlalchemy import update

    connection.execute(update(SCHEDULES).where(SCHEDULES.c.name == name).values(values))  # type: ignore[attr-defined]


def test_jobs_of_a_worker_that_fell_silent_a_moment_ago_have_no_live_worker(app: Celeriac) -> None:
    write(app, WORKERS, silent := stock.worker(heartbeat=before(app.settings.worker_timeout + 3)))
    write(app, JOBS, stock.running(worker_id=silent["id"]))
    said = call(app, "doctor").stdout
    assert "no worker lives; 1 job running on workers that fell silent a moment ago" in said
    assert "every running job has a live worker" not in said


def test_a_database_without_tables_is_said_once(app: Celeriac, bare_database_url: str) -> None:
    app.database.close()
    app.database = Database(make_url(bare_database_url))
    found = levels(app)
    assert found["database", "migrations"] is Level.FAIL
    assert [check for _, check in found if check == "ledger"] == []
    assert found["broker", "version"] is Level.OK


def test_servers_that_are_away_are_lines_without_their_passwords(app: Celeriac) -> None:
    app.database.close()
    app.database = Database(make_url("postgresql+psycopg://me:hunter2@127.0.0.1:1/none"), patience=1)
    settings = Settings(broker_url="redis://:hunter2@127.0.0.1:1/0", database_url="sqlite:///x/none.db")
    with closing(build(settings, set_as_current=False)) as away:
        away.database = app.database
        found = call(away, "doctor")
        assert found.exit_code == 2
        assert found.stdout.count("fail database  ledger: the ledger cannot be asked") == 1
        assert found.stdout.count("the ledger cannot be asked") == 1
        assert found.stdout.count("fail broker    broker: Redis cannot be asked") == 1
        assert found.stdout.count("Redis cannot be asked") == 1
        assert "hunter2" not in said(found)
        assert "hunter2" not in said(call(away, "doctor", "--json"))


def test_a_broker_that_evicts_is_found(sqlite_url: str, private_valkey: ValkeyServer) -> None:
    private_valkey.configure(maxmemory_policy="allkeys-lru", maxmemory=10**9)
    app = build(Settings(database_url=sqlite_url, broker_url=private_valkey.url()), set_as_current=False)
    found: list[Finding] = [one for one in examine(app) if one.check == "eviction"]
    assert [one.level for one in found] == [Level.FAIL]
    assert found[0].remedy == "CONFIG SET maxmemory-policy noeviction"
    app.database.close()


def test_the_clock_of_this_machine_is_compared(app: Celeriac) -> None:
    from celeriac.operate.doctor import database_check

    assert abs(database_check.read(app).skew) < timedelta(seconds=2)
