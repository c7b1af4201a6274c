"""How many messages a worker holds, which Celery asks the broker for."""

from __future__ import annotations

from typing import Any

EVERY = 0.2  # seconds between two looks


def adapt(consumer: Any) -> None:
    """Hold as many messages as the length of jobs asks for, or as is set.

    Those of jobs that wait for their task's rate limit are held beside: they would keep out all others.
    """
    # Neither exists before the first connection, and the consumer is away between two of them.
    qos, drawing = getattr(consumer, "qos", None), getattr(consumer, "task_consumer", None)
    if qos is None or drawing is None:
        return
    ledger, fixed = consumer.ledger, consumer.app.settings.prefetch
    if fixed is None:
        drawing.channel.qos.least = ledger.refill_threshold()
    wanted = ledger.prefetch() if fixed is None else fixed * consumer.concurrency()
    change = wanted + ledger.rate_limited() - qos.value
    if change > 0:
        qos.increment_eventually(change)
        ledger.wake()  # the pool may have grown
    elif change < 0:
        qos.decrement_eventually(-change)
