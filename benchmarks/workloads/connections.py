"""How many connections to PostgreSQL a worker holds, as the server counts them."""

from __future__ import annotations

import psycopg

from benchmarks import process_usage
from benchmarks.figures import Figures, Measure
from benchmarks.trial import Trial
from benchmarks.workload import Workload
from tests.processes import Process

_NOBODY = 0  # owner of a connection that is not the worker's

_PORTS = """
    SELECT client_port FROM pg_stat_activity
    WHERE application_name = %s AND datname = current_database() AND client_port IS NOT NULL
"""


def connections(trial: Trial, jobs: int) -> Figures:
    """The most that were seen at a time while a prefork worker with two children drains."""
    trial.enqueue(jobs)
    looks: list[dict[int, int]] = []
    with trial.worker() as worker, trial.stage.connect() as database:
        for moment in trial.watch(trial.witness.done, jobs, worker=worker):
            if moment.count:  # before, there may be no children yet
                looks.append(_owners(database, str(trial.entry.application_name), worker))
    children = {pid for look in looks for pid in look} - {worker.pid, _NOBODY}
    return {
        "main": max(look[worker.pid] for look in looks),
        "children": len(children),
        "child": max((look[pid] for look in looks for pid in children), default=0),
        "others": max(look[_NOBODY] for look in looks),
    }


def _owners(database: psycopg.Connection, application: str, worker: Process) -> dict[int, int]:
    """How many connections each process of the worker holds now, and how many are nobody's of them."""
    listed = [port for (port,) in database.execute(_PORTS, [application])]
    # The main process first: a descriptor that a child inherited is no connection of its own.
    held = {pid: process_usage.ports(pid) for pid in (worker.pid, *worker.children())}
    counted = dict.fromkeys((*held, _NOBODY), 0)
    for port in listed:
        counted[next((pid for pid, ports in held.items() if port in ports), _NOBODY)] += 1
    return counted


CONNECTIONS = Workload(
    name="connections",
    title="connections to PostgreSQL while one prefork worker with two children drains",
    jobs=3_000,
    quick_jobs=300,
    repeat=1,  # a count, not a time
    measures=(
        Measure(key="main", label="connections of the main process", compared=False),
        Measure(key="children", label="children looked at", compared=False),
        Measure(key="child", label="connections of a child, at most", compared=False),
        Measure(key="others", label="connections of anybody else", compared=False),
    ),
    measure=connections,
    applies=lambda entry: entry.application_name is not None,
)
