"""The broker is killed, frozen, emptied, filled up; a message is lost on its way."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.faults.drill import RESUMED, Drill
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


def test_result_store_dead_while_jobs_end(drill: Drill) -> None:
    from tests.servers import ValkeyServer

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
