"""Chords and jobs that replace themselves, when the broker forgets or a worker dies in the middle."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chord

from tests.acceptance.faults.drill import Drill

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

KINDS = ("job", "chain", "chord")


def test_chords_across_a_workers_death(drill: Drill) -> None:
    victim, _ = drill.house.man(2)
    _chords(drill, 8)
    drill.begun(2, pids=victim.children())
    victim.kill()
    drill.hit(victim)
    drill.over()
    drill.ends()


def test_chords_across_flushall(drill: Drill) -> None:
    drill.house.man(2)
    _chords(drill, 8)
    drill.flows(10)
    with drill.house.broker.client() as client:
        client.flushall()
    drill.over()
    drill.ends()


def test_chords_across_flushall_and_a_workers_death(drill: Drill) -> None:
    victim, _ = drill.house.man(2)
    _chords(drill, 8)
    drill.begun(2, pids=victim.children())
    victim.kill()
    drill.hit(victim)
    with drill.house.broker.client() as client:
        client.flushall()
    drill.over()
    drill.ends(recovery=25)  # two faults at once, one behind the other


@pytest.mark.parametrize("flush", [False, True], ids=["", "and flushall"])
def test_jobs_that_replace_themselves_across_a_workers_death(flush: bool, drill: Drill) -> None:
    victim, _ = drill.house.man(2)
    task = drill.house.app.tasks["tests.become_witness"]
    drill.accept([str(task.delay(drill.witness.path, kind, 0.2).id) for _ in range(5) for kind in KINDS])
    drill.begun(2, pids=victim.children())
    victim.kill()
    drill.hit(victim)
    if flush:
        with drill.house.broker.client() as client:
            client.flushall()
    drill.over()
    drill.ends(recovery=25 if flush else 20)  # two faults at once, one behind the other


def _chords(drill: Drill, count: int) -> None:
    """Chords of four jobs and a body, all of them witnesses."""
    for _ in range(count):
        members = [_witness(drill, 0.4) for _ in range(4)]
        body = chord(members, _witness(drill, 0.0))()
        drill.accept([str(body.id), *(str(member.id) for member in body.parent.results)])


def _witness(drill: Drill, seconds: float) -> Any:
    return drill.house.app.tasks["tests.witness"].si(drill.witness.path, seconds)
