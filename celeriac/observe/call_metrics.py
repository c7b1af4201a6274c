"""Metrics of the calls that this process makes, for the registry of a web process or of a worker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from celeriac.application import Celeriac


class CallMetrics(Collector):
    """A collector of what only the caller sees: calls whose unique key another job has.

    Register it with the ``prometheus_client`` registry whose metrics the process serves. Counters begin at
    zero with the process.

    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> registry.register(CallMetrics(current_app()))
    >>> @shared_task(name="shop.count", unique=Unique())
    ... def count(): ...
    >>> count.delay().id == count.delay().id
    True
    >>> told = {"task": "shop.count", "answer": "kept"}
    >>> registry.get_sample_value("celeriac_duplicate_calls_total", told)
    1
    """

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    def collect(self) -> Iterable[Metric]:
        """What Prometheus reads."""
        family = CounterMetricFamily(
            "celeriac_duplicate_calls",
            "calls whose unique key another job has, by what became of them",
            labels=["task", "answer"],
        )
        for (task, answer), number in self._app.amqp.duplicates.counts().items():
            family.add_metric([task, answer], number)
        return [family]
