"""Set the prefetch count: how many messages the worker holds."""

from __future__ import annotations

from typing import Any

EVERY = 0.2  # seconds between two adjustments


def adapt(consumer: Any) -> None:
    """Set the prefetch count by the duration of jobs, or by the setting.

    Jobs that wait for their task's rate limit, or for the others of a batch, are added to it, or they would
    keep out all others; and so is the room of batches that form, and of coroutines that run beside others.
    """
    # Neither exists before the first connection, and the task consumer is missing between two connections.
    qos, drawing = getattr(consumer, "qos", None), getattr(consumer, "task_consumer", None)
    if qos is None or drawing is None:
        return
    ledger, fixed = consumer.ledger, consumer.app.settings.prefetch
    if fixed is None:
        drawing.channel.qos.least = ledger.refill_threshold()
    wanted = ledger.prefetch() if fixed is None else fixed * consumer.concurrency()
    change = wanted + ledger.beside() + ledger.rate_limited() + consumer.batches.room() - qos.value
    if change > 0:
        qos.increment_eventually(change)
        ledger.wake()  # the pool may have grown
    elif change < 0:
        qos.decrement_eventually(-change)
