"""The broker is killed, frozen, emptied, filled up; a message is lost on its way."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import pytest

from celeriac.ledger.schema.lifecycle import JobState
from tests.acceptance.faults.drill import RESUMED, Drill
from tests.servers import ValkeyServer
from tests.support import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.mark.parametrize("away", [0.0, 5.0, 25.0])
def test_broker_killed_and_restarted_under_load(away: float, drill: Drill) -> None:
    drill.house.man(2)
    drill.enqueue(150)
    with drill.load(lasting=2):
        drill.flows()
        drill.house.broker.kill()
        _for(away)
        drill.house.broker.restart()
        drill.over()
    drill.ends(resumed=RESUMED)
    assert all(worker.running for worker in drill.house.workers)


def test_broker_killed_and_restarted_while_jobs_run(drill: Drill) -> None:
    drill.house.man(1)
    drill.enqueue(2, seconds=6)
    drill.begun(2)
    drill.house.broker.kill()
    _for(1)
    drill.house.broker.restart()
    drill.over()
    line = drill.ends()
    assert line.again == 0


def test_broker_killed_and_restarted_while_idle(drill: Drill) -> None:
    drill.house.man(2)
    drill.house.broker.kill()
    _for(2)
    drill.house.broker.restart()
    drill.over()
    drill.enqueue(40)
    drill.ends(resumed=RESUMED)


def test_broker_frozen_for_ten_seconds_under_load(drill: Drill) -> None:
    drill.house.man(2)
    with drill.load(rate=20, lasting=2):
        drill.flows()
        drill.house.broker.freeze()
        _for(10)
        drill.house.broker.thaw()
        drill.over()
    drill.ends(resumed=RESUMED)


def test_broker_down_while_enqueuing(drill: Drill) -> None:
    drill.house.man(1)
    drill.house.broker.kill()
    drill.enqueue(40)
    drill.house.broker.restart()
    drill.over()
    assert len(drill.producer.accepted) == 40
    drill.ends(resumed=RESUMED)


def test_messages_popped_and_lost(drill: Drill) -> None:
    drill.house.man(1)
    drill.enqueue(150)
    lost = 0
    with drill.load():
        drill.flows()
        with drill.house.broker.client() as client:
            lost = sum(client.rpop("normal") is not None for _ in range(10))
        drill.over()
    assert lost == 10
    drill.ends()


def test_connections_cut_again_and_again(drill: Drill) -> None:
    drill.house.man(2)
    with drill.load(rate=80):
        for count in range(20, 400, 20):
            drill.flows(count)
            with drill.house.broker.client() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        drill.over()
    drill.ends(resumed=RESUMED)


def test_broker_memory_full(drill: Drill) -> None:
    drill.house.man(2)
    with drill.load(lasting=2):
        drill.flows()
        drill.house.broker.configure(maxmemory=1)
        _for(5)
        drill.house.broker.configure(maxmemory=0)
        drill.over()
    drill.ends(resumed=RESUMED)


def demoted(broker: ValkeyServer, fails: bool) -> None:
    """A failover elsewhere: it is a replica of a master that is away."""
    with broker.client() as client:
        client.execute_command("REPLICAOF", *(("127.0.0.1", "1") if fails else ("NO", "ONE")))


def without_its_replicas(broker: ValkeyServer, fails: bool) -> None:
    broker.configure(min_replicas_to_write=int(fails))


def unable_to_save(broker: ValkeyServer, fails: bool) -> None:
    if not fails:
        broker.configure(save="", stop_writes_on_bgsave_error="no")
        return
    broker.configure(save="3600 1000000", stop_writes_on_bgsave_error="yes")
    shutil.rmtree(broker.home / "data")  # where it works
    with broker.client() as client:
        client.bgsave()
        wait_until(
            lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
            within=10,
            saying="it could not save",
        )


def full(broker: ValkeyServer, fails: bool) -> None:
    broker.configure(maxmemory=int(fails))


REFUSALS = [demoted, without_its_replicas, unable_to_save, full]


@pytest.mark.parametrize("fault", REFUSALS, ids=lambda fault: fault.__name__)
def test_broker_answers_and_refuses(fault: Callable[[ValkeyServer, bool], None], drill: Drill) -> None:
    """READONLY, NOREPLICAS, MISCONF, OOM; connections are cut as well, so that all begins anew with it."""
    broker = drill.house.broker
    workers = drill.house.man(2)
    with drill.load(lasting=2):
        drill.flows()
        long = drill.enqueue(2, seconds=6)
        wait_until(lambda: drill.witness.starts().keys() >= {*long}, within=30, saying="the long ones run")
        fault(broker, True)
        with broker.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        _for(8)
        assert all(drill.rows()[id].state is JobState.COMPLETED for id in long), "ended while it refused"
        fault(broker, False)
        drill.over()
    drill.ends(resumed=RESUMED)
    assert all(worker.running for worker in workers)


def test_waiting_workers_are_thrown_out_by_the_broker(drill: Drill) -> None:
    """UNBLOCKED, as at the moment of a failover; it is no sign that the server knows no BLMPOP."""
    (worker,) = drill.house.man(1)
    with drill.house.broker.client() as client:
        blocked = [one["id"] for one in client.client_list() if one["cmd"] == "blmpop"]
        assert blocked
        for id in blocked:
            client.execute_command("CLIENT", "UNBLOCK", id, "ERROR")
    drill.over()
    drill.enqueue(20)
    drill.ends(resumed=RESUMED)
    assert worker.running
    assert "one message at a time" not in worker.log


def test_jobs_end_and_limits_fire_while_the_broker_is_away(drill: Drill) -> None:
    """Also what was claimed and had not begun: the broker is not needed for it."""
    (worker,) = drill.house.man(1)
    (short,) = drill.enqueue(1, seconds=3)
    (hung,) = drill.enqueue(1, seconds=600, time_limit=5, max_tries=1)
    drill.failing.add(hung)
    drill.begun(2)
    drill.house.broker.kill()
    wait_until(
        lambda: drill.rows()[short].state is JobState.COMPLETED, within=30, saying="its result is read"
    )
    wait_until(lambda: drill.rows()[hung].state is JobState.FAILED, within=30, saying="its limit has fired")
    assert drill.rows()[hung].failure.startswith("timeout")  # type: ignore[union-attr]
    drill.house.broker.restart()
    drill.over()
    drill.enqueue(20)
    drill.ends(resumed=RESUMED)
    assert worker.running


def test_result_store_dead_while_jobs_end(drill: Drill) -> None:
    with ValkeyServer() as results:
        drill.house.settings["CELERY_RESULT_BACKEND"] = results.url()
        drill.house.man(2)
        drill.enqueue(60, seconds=0.1)
        drill.flows(10)
        results.kill()
        drill.enqueue(60, seconds=0.1)
        drill.flows(100)
        results.restart()
        drill.over()
        drill.enqueue(20)
        drill.ends(resumed=RESUMED)


def test_ten_cancelled_jobs_none_runs_whatever_dies(drill: Drill) -> None:
    from celeriac.operate.job import cancel

    victim, _ = drill.house.man(2)
    drill.enqueue(100, seconds=0.1)
    last = drill.enqueue(10, countdown=3) + drill.enqueue(10)
    drill.begun(2)
    drill.cancelled |= set(last[5:15])
    for id in drill.cancelled:
        assert str(cancel(id, app=drill.house.app)) == "cancelled"
    victim.kill()
    drill.hit(victim)
    with drill.house.broker.client() as client:
        client.flushall()
    drill.house.broker.kill()
    drill.house.postgres.kill()
    drill.house.postgres.restart()
    drill.house.broker.restart()
    drill.over()
    drill.ends(recovery=30)


def _for(seconds: float) -> None:
    """Let a fault last: there is nothing to wait for but the clock."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, within=seconds + 5, saying="time passes")
