"""Metrics of the ledger for Prometheus. A scrape reads the ledger, at most once in a few seconds.

Nothing is counted while jobs run: the rows are the counters. One exporter is enough for any number of
workers, and a restart loses no count.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from celeriac.events import Event
from celeriac.ledger.writes import schedule_rows
from celeriac.ledger.writes.unique import followers
from celeriac.limits.breaker import BreakerState
from celeriac.operate.limits import limits
from celeriac.operate.listing import Filter
from celeriac.operate.overview import LATELY, Line, QueueStatus, count_jobs, list_workers, queues, stats

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

#: Seconds for which an answer is used again, however many scrape.
_FRESH = 5.0

#: Tasks that have a label of their own. All others are counted together as ``other``.
_TASKS = 200

#: Jobs that are counted which follow others.
_FOLLOWING = 10_000

#: Limits that are told.
_LIMITS = 200

_UP = ("celeriac_up", "whether the ledger could be read")

_OF_QUEUES = {
    "due": "jobs that wait and could run",
    "later": "jobs that wait for a moment",
    "parked": "jobs that wait for other jobs",
    "held": "due jobs that wait because their queue or task is paused",
    "paused": "whether it is paused",
    "running": "jobs that are held by a worker",
    "in_broker": "messages in the broker",
    "consumers": "live workers that draw from it",
}


#: How much of a limit its breaker shuts.
_OPEN = MappingProxyType({BreakerState.CLOSED: 0.0, BreakerState.HALF_OPEN: 0.5, BreakerState.OPEN: 1.0})


class LedgerCollector(Collector):
    """A collector to register with a ``prometheus_client.CollectorRegistry``."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._found: list[Metric] = []
        self._until = 0.0

    def describe(self) -> list[Metric]:
        """Empty, so that registering the collector does not read the ledger."""
        return []

    def collect(self) -> Iterable[Metric]:
        if time.monotonic() >= self._until:
            self._found = self._read()
            self._until = time.monotonic() + _FRESH
        return self._found

    def _read(self) -> list[Metric]:
        """All metrics; only ``celeriac_up 0`` when the ledger cannot be read.

        A scrape that failed would take every metric away, and the alerts that compare one would not fire.
        """
        families = (
            self._queues(),
            self._jobs(),
            self._tasks(),
            self._limits(),
            self._following(),
            self._workers(),
            self._schedules(),
        )
        try:
            found = [family for some in families for family in some]
        except (SQLAlchemyError, OSError) as exc:
            logger.warning(Event.LEDGER_NOT_READ, {"error": type(exc).__name__})
            return [GaugeMetricFamily(*_UP, value=0.0)]
        return [GaugeMetricFamily(*_UP, value=1.0), *found]

    def _queues(self) -> Iterator[Metric]:
        found = queues(app=self._app)
        for name, what in _OF_QUEUES.items():
            yield _by_queue(name, what, [(queue, _number(queue, name)) for queue in found])
        oldest = [(q, 0.0 if q.oldest is None else q.oldest.total_seconds()) for q in found]
        yield _by_queue("oldest_seconds", "how long the oldest has been due", oldest)

    def _jobs(self) -> Iterator[Metric]:
        counts = count_jobs(within=LATELY, app=self._app)
        now = {name: getattr(counts, name) for name in ("due", "later", "held", "retrying", "running")}
        yield _gauge("celeriac_jobs", "jobs that are not at their end", now, "state")
        lately = {name: getattr(counts, name) for name in ("accepted", "completed", "failed", "cancelled")}
        yield _gauge("celeriac_jobs_lately", "jobs of the last five minutes", lately, "event")

    def _tasks(self) -> Iterator[Metric]:
        with self._app.database.reading() as connection:
            since = schedule_rows.clock(connection) - LATELY
        lines = stats(Filter(since=since), app=self._app)
        known = [line for line in lines if line.task in self._app.tasks][: _TASKS * 8]
        by_state = GaugeMetricFamily(
            "celeriac_task_jobs_lately",
            "jobs accepted in the last five minutes, by task and state",
            labels=["task", "state"],
        )
        for line in known:
            if line.task is not None and line.state is not None:
                by_state.add_metric([line.task, str(line.state)], line.jobs)
        others = sum(
            line.jobs for line in lines if line.task is not None and line.state and line not in known
        )
        by_state.add_metric(["other", ""], others)
        yield by_state
        yield _quantiles("celeriac_task_wait_seconds", "from acceptance to the last attempt", known, "wait")
        yield _quantiles("celeriac_task_run_seconds", "the last attempt", known, "run")

    def _limits(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "celeriac_limit_jobs",
            "jobs of a limit, by weight; waiting ones by number",
            labels=["limit", "state"],
        )
        found = limits(app=self._app)[:_LIMITS]
        for limit in found:
            for state in ("running", "on_their_way", "waiting"):
                family.add_metric([limit.name, state], getattr(limit, state))
        yield family
        breaker = GaugeMetricFamily(
            "celeriac_limit_breaker_open",
            "1: the breaker of a limit is open; 0.5: it is half-open",
            labels=["limit"],
        )
        for limit in found:
            if limit.breaker is not None:
                breaker.add_metric([limit.name], _OPEN[limit.breaker])
        yield breaker

    def _following(self) -> Iterator[Metric]:
        with self._app.database.reading() as connection:
            number = followers.count(connection, most=_FOLLOWING)
        what = "jobs that wait for the one that has their unique key, and take its result"
        yield GaugeMetricFamily("celeriac_jobs_following", what, value=number)

    def _workers(self) -> Iterator[Metric]:
        found = list_workers(app=self._app)
        states = dict.fromkeys(("alive", "silent", "stopped"), 0)
        for status in found:
            states[status.state] += 1
        yield _gauge("celeriac_workers", "workers of the last hour, by state", states, "state")

    def _schedules(self) -> Iterator[Metric]:
        with self._app.database.reading() as connection:
            clock, due = schedule_rows.next_due(connection)
        late = 0.0 if due is None else max(0.0, (clock - due).total_seconds())
        yield GaugeMetricFamily(
            "celeriac_schedule_lateness_seconds", "how long the next due time has been over", value=late
        )


def _gauge(name: str, what: str, values: Mapping[str, float], label: str) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _by_queue(name: str, what: str, values: Iterable[tuple[QueueStatus, float]]) -> Metric:
    labels = ["queue", "lane", "level"]
    family = GaugeMetricFamily(f"celeriac_queue_{name}", f"{what}, by lane and level", labels=labels)
    for queue, value in values:
        family.add_metric([queue.name, queue.lane, queue.level], value)
    return family


def _quantiles(name: str, what: str, lines: Iterable[Line], kind: str) -> Metric:
    family = GaugeMetricFamily(
        name, f"{what}, of jobs accepted in the last five minutes", labels=["task", "quantile"]
    )
    for line in lines:
        if line.task is None or line.state is not None:
            continue
        for quantile in ("50", "95", "99"):
            found: timedelta | None = getattr(line, f"{kind}_p{quantile}")
            if found is not None:
                family.add_metric([line.task, f"0.{quantile}"], found.total_seconds())
    return family


def _number(queue: QueueStatus, name: str) -> float:
    if name == "paused":
        return float(queue.paused is not None)
    value = getattr(queue, name)
    return float("nan") if value is None else float(value)
