"""Celeriac: Celery with roots. Every job is a row in a SQL table before it is a message.

These names are the public face; ``docs/api.md`` has a section for each. What is not here, or in
``celeriac.errors``, ``celeriac.schedules`` and ``celeriac.testing``, is private and may change. Each name is
imported when it is first used, so that ``import celeriac`` costs neither Celery nor the ORM.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeriac.application import Celeriac as Celeriac
    from celeriac.application import current_app as current_app
    from celeriac.display import duration_text as duration_text
    from celeriac.enqueue.arguments import Secret as Secret
    from celeriac.enqueue.bulk import enqueue_many as enqueue_many
    from celeriac.enqueue.bulk import enqueue_together as enqueue_together
    from celeriac.enqueue.template import Call as Call
    from celeriac.enqueue.transactions import complete_in as complete_in
    from celeriac.enqueue.transactions import enqueue_in as enqueue_in
    from celeriac.errors import BadArgument as BadArgument
    from celeriac.errors import CeleriacError as CeleriacError
    from celeriac.errors import EnqueueUncertain as EnqueueUncertain
    from celeriac.errors import JobNotFound as JobNotFound
    from celeriac.errors import LedgerUnavailable as LedgerUnavailable
    from celeriac.ledger.schema.lifecycle import JobState as JobState
    from celeriac.ledger.writes.cancel import Answer as Answer
    from celeriac.limits.breaker import Breaker as Breaker
    from celeriac.limits.calls_in_time import Debounce as Debounce
    from celeriac.limits.calls_in_time import Throttle as Throttle
    from celeriac.limits.limit import Limit as Limit
    from celeriac.limits.order import OrderedBy as OrderedBy
    from celeriac.limits.resting import RateLimited as RateLimited
    from celeriac.limits.resting import Snooze as Snooze
    from celeriac.limits.unique import Unique as Unique
    from celeriac.observe.call_metrics import CallMetrics as CallMetrics
    from celeriac.operate import dead_letters as dead_letters
    from celeriac.operate.explain import Explanation as Explanation
    from celeriac.operate.explain import Reason as Reason
    from celeriac.operate.explain import explain as explain
    from celeriac.operate.job import Attempt as Attempt
    from celeriac.operate.job import Job as Job
    from celeriac.operate.job import cancel as cancel
    from celeriac.operate.job import cancel_all as cancel_all
    from celeriac.operate.job import job as job
    from celeriac.operate.job import jobs as jobs
    from celeriac.operate.report import FailureLine as FailureLine
    from celeriac.operate.report import Line as Line
    from celeriac.operate.report import Summary as Summary
    from celeriac.operate.report import summarise as summarise
    from celeriac.retention import Retention as Retention
    from celeriac.retention import prune as prune
    from celeriac.schedules.registry import register as register
    from celeriac.task.batch.batched_job import BatchedJob as BatchedJob
    from celeriac.task.batch.declared import Batch as Batch
    from celeriac.task.task import Task as Task

__version__ = "0.1.0"

#: Where each name of the public face is defined.
_PLACES = {
    "Answer": "ledger.writes.cancel",
    "Attempt": "operate.job",
    "BadArgument": "errors",
    "Batch": "task.batch.declared",
    "BatchedJob": "task.batch.batched_job",
    "Call": "enqueue.template",
    "CallMetrics": "observe.call_metrics",
    "Celeriac": "application",
    "CeleriacError": "errors",
    "Debounce": "limits.calls_in_time",
    "EnqueueUncertain": "errors",
    "Explanation": "operate.explain",
    "FailureLine": "operate.report",
    "Job": "operate.job",
    "JobNotFound": "errors",
    "JobState": "ledger.schema.lifecycle",
    "LedgerUnavailable": "errors",
    "Breaker": "limits.breaker",
    "Limit": "limits.limit",
    "Line": "operate.report",
    "OrderedBy": "limits.order",
    "RateLimited": "limits.resting",
    "Reason": "operate.explain",
    "Retention": "retention",
    "Secret": "enqueue.arguments",
    "Snooze": "limits.resting",
    "Summary": "operate.report",
    "Task": "task.task",
    "Throttle": "limits.calls_in_time",
    "Unique": "limits.unique",
    "cancel": "operate.job",
    "cancel_all": "operate.job",
    "complete_in": "enqueue.transactions",
    "current_app": "application",
    "dead_letters": "operate.dead_letters",
    "duration_text": "display",
    "enqueue_in": "enqueue.transactions",
    "enqueue_many": "enqueue.bulk",
    "enqueue_together": "enqueue.bulk",
    "explain": "operate.explain",
    "job": "operate.job",
    "jobs": "operate.job",
    "prune": "retention",
    "register": "schedules.registry",
    "summarise": "operate.report",
}

#: Names that are modules.
_MODULES = frozenset({"dead_letters"})

__all__ = ["__version__", *_PLACES]  # names that are looked up below


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'celeriac' has no attribute {name!r}; docs/api.md lists what it has")
    found = import_module(f"celeriac.{_PLACES[name]}")
    value = globals()[name] = found if name in _MODULES else getattr(found, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
