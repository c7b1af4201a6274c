"""The ledger's database is killed, away, full; and producers that die in the middle."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from celeriac.ledger.connection.database import Database
from tests.acceptance.faults.drill import Drill
from tests.acceptance.faults.house import until_reachable
from tests.servers import PgBouncerServer, PostgresServer, ValkeyServer
from tests.support import wait_until
from tests.workers import ROOT

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def test_postgresql_killed_and_restarted_again_and_again(drill: Drill) -> None:
    drill.house.man(2)
    with drill.load(rate=60, lasting=1):
        for count in (20, 60, 100):
            drill.flows(count)
            drill.house.postgres.kill()
            drill.house.postgres.restart()
            until_reachable(drill.house.database)
        drill.over()
    drill.ends(refusals=True)


def test_postgresql_down_for_a_minute(drill: Drill) -> None:
    drill.house.man(2)
    drill.enqueue(2, seconds=70)
    drill.begun(2)
    with drill.load(rate=5, lasting=2):
        drill.flows()
        drill.house.postgres.kill()
        _for(60)
        drill.house.postgres.restart()
        until_reachable(drill.house.database)
        drill.over()
    drill.ends(refusals=True, recovery=20)
    assert drill.house.declared_dead() == []


def test_postgresql_frozen_for_ten_seconds(drill: Drill) -> None:
    drill.house.man(2)
    with drill.load(rate=20, lasting=2):
        drill.flows()
        drill.house.postgres.freeze()
        _for(10)
        drill.house.postgres.thaw()
        drill.over()
    drill.ends(refusals=True)


def test_postgresql_has_no_connection_left(drill: Drill) -> None:
    drill.house.man(2)
    with drill.load(rate=20, lasting=2), ExitStack() as stack:
        drill.flows()
        with drill.house.postgres.connect() as first:
            stack.callback(_crowd(drill, first).close)
            _for(5)
            stack.close()
        drill.over()
    drill.ends(refusals=True)
    assert drill.producer.refused > 0


def _crowd(drill: Drill, first: psycopg.Connection) -> ExitStack:
    """Take every connection there is, after everybody else was thrown out."""
    crowd = ExitStack()
    others = "FROM pg_stat_activity WHERE application_name = 'celeriac'"
    while first.execute(f"SELECT count(pg_terminate_backend(pid)) {others}").fetchall() != [(0,)]:
        with suppress(psycopg.OperationalError):
            while True:
                crowd.enter_context(drill.house.postgres.connect())
    return crowd


def test_a_producer_is_killed_between_commit_and_publish(drill: Drill) -> None:
    drill.house.man(1)
    drill.enqueue(20)
    program = Path(__file__).with_name("dying_producer.py")
    for _ in range(5):
        died = subprocess.run(
            [sys.executable, program, drill.witness.path],
            env=drill.house.environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert died.returncode == -9, died.stderr
        drill.accept(died.stdout.split())
    drill.over()
    line = drill.ends()
    assert line.jobs == 25


def test_pgbouncer_in_between_is_killed_and_restarted(bounced_drill: Drill, bouncer: PgBouncerServer) -> None:
    drill = bounced_drill
    victim, _ = drill.house.man(2)
    drill.enqueue(20, countdown=2)
    with drill.load(rate=40, lasting=1):
        drill.flows(40)
        bouncer.kill()
        _for(1)
        bouncer.restart()
        drill.flows(80)
        victim.kill()
        drill.hit(victim)
        drill.over()
    drill.ends(refusals=True)


def test_what_pgbouncer_hands_on_is_as_it_was(
    bouncer: PgBouncerServer, servers: tuple[ValkeyServer, PostgresServer]
) -> None:
    """A worker's own connection plans in a way of its own; one that is shared must not."""
    found = {}
    for server in (bouncer, servers[1]):
        database = Database(make_url(server.url("postgres"))).with_generic_plans()
        with closing(database), database.driver() as pooled:
            (found[server.name],) = pooled.driver_connection.execute("SHOW plan_cache_mode").fetchone()
    assert found == {"pgbouncer": "auto", "postgresql": "force_generic_plan"}


def test_the_disk_is_full_under_sqlite(sqlite_drill: Drill) -> None:
    drill = sqlite_drill
    worker, *_ = drill.house.man(1)
    limits = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    with drill.load(rate=20, lasting=2):
        drill.flows()
        # The main process alone: it is the one that writes the ledger here.
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (1, limits[1]))
        _for(1)
        known = drill.witness.starts()
        _for(5)
        assert drill.witness.starts() == known  # what cannot be written down does not begin
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, limits)
        drill.over()
    drill.ends(refusals=True)
    assert worker.running


def test_outcomes_that_cannot_be_written_down(drill: Drill) -> None:
    drill.house.man(1)
    tasks = drill.house.app.tasks
    for name in ("tests.unserialisable_result", "tests.unpicklable_error", "tests.str_raises"):
        bad = str(tasks[name].apply_async(max_tries=1).id)
        drill.accept([bad])
        drill.failing.add(bad)
    drill.enqueue(40)
    drill.over()
    drill.ends()


def _for(seconds: float) -> None:
    """Let a fault last: there is nothing to wait for but the clock."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, within=seconds + 5, saying="time passes")
