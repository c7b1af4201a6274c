"""The faults of every run, in one house: what outlives one of them is there for the next."""

from __future__ import annotations

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from celeriac.enqueue.transactions import enqueue_in
from celeriac.ledger.schema.lifecycle import JobState
from tests.acceptance.faults.drill import RESUMED, Drill
from tests.acceptance.faults.house import until_reachable
from tests.support import wait_until

CHILD = 5.0  # seconds until the death of a child is answered


def test_broker_connections_cut_under_load(quick: Drill) -> None:
    with quick.load(rate=60):
        for count in (20, 60, 100):
            quick.flows(count)
            with quick.house.broker.client() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        quick.over()
    quick.ends(resumed=RESUMED)


def test_the_broker_is_a_replica_for_a_while(quick: Drill) -> None:
    """It answers and refuses; what runs meanwhile ends, and its outcome is written."""
    long = quick.enqueue(2, seconds=1.5)
    quick.begun(2)
    with quick.house.broker.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        wait_until(
            lambda: all(quick.rows()[id].state is JobState.COMPLETED for id in long),
            within=30,
            saying="they have ended",
        )
        client.execute_command("REPLICAOF", "NO", "ONE")
    quick.over()
    quick.enqueue(20)
    quick.ends()
    assert all(worker.running for worker in quick.house.workers)


def test_a_child_is_killed(quick: Drill) -> None:
    quick.enqueue(8, seconds=1.5)  # or the one that it runs would have ended before it is killed
    quick.kill_child(quick.begun(3)[0].pid)
    quick.over()
    line = quick.ends(recovery=CHILD)
    assert line.again == 1


def test_postgresql_is_killed_and_restarted_under_load(quick: Drill) -> None:
    with quick.load():
        quick.flows()
        quick.house.postgres.kill()
        quick.house.postgres.restart()
        until_reachable(quick.house.database)
        quick.over()
    quick.ends(refusals=True)


def test_a_rollback_after_enqueue(quick: Drill) -> None:
    app = quick.house.app
    task = app.tasks["tests.witness"]
    engine = create_engine(quick.house.url)
    with Session(engine) as session, enqueue_in(session, app=app):
        lost = [task.delay(quick.witness.path).id for _ in range(10)]
        session.rollback()
    with Session(engine) as session, enqueue_in(session, app=app):
        quick.accept([str(task.delay(quick.witness.path).id) for _ in range(10)])
        session.commit()
    engine.dispose()
    quick.ends(recovery=CHILD)
    assert not set(lost) & (quick.witness.starts().keys() | quick.rows().keys())


def test_flushall_under_load(quick: Drill) -> None:
    quick.enqueue(150)
    with quick.load():
        quick.flows()
        with quick.house.broker.client() as client:
            client.flushall()
        quick.over()
    quick.ends()


def test_a_worker_is_killed_with_a_full_prefetch(quick: Drill) -> None:
    victim, _ = quick.house.man(2)
    quick.enqueue(100, seconds=0.1)
    quick.begun(2, pids=victim.children())
    victim.kill()
    quick.hit(victim)
    quick.over()
    quick.ends()
