"""How long a job waits after a failed attempt: the task's own backoff, or the ledger's."""

from __future__ import annotations

import random
from typing import Any

from celery.utils.time import get_exponential_backoff_interval


def seconds(task: Any, failed: int) -> float:
    """Seconds from the ``failed``-th failed attempt to the next one.

    Where ``retry_backoff`` is set, by Celery's formula.
    """
    settings = task.app.settings
    jitter = getattr(task, "retry_jitter", None)
    factor = getattr(task, "retry_backoff", None)
    if factor:
        ceiling = int(getattr(task, "retry_backoff_max", 600))
        full = True if jitter is None else bool(jitter)
        return float(get_exponential_backoff_interval(int(max(1.0, factor)), failed - 1, ceiling, full))
    base = settings.retry_base if task.retry_base is None else task.retry_base
    longest = settings.retry_max if task.retry_max is None else task.retry_max
    delay = min(base * 2.0 ** min(failed, 64), longest)
    if jitter is True:
        return random.uniform(0, delay)
    share = settings.retry_jitter if jitter is None else float(jitter)
    return float(delay * (1 + random.uniform(0, share)))
