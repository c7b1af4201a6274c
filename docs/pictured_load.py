"""Tasks with limits and a schedule, for the pictures of the console.

    python -m docs.pictured_load

enqueues them beside the demonstration.
"""

from __future__ import annotations

import time

from celery import shared_task

from celeriac import Breaker, Limit, schedules

_ORDERS, _TENANTS = 40, ("acme", "globex", "initech")


class CardRefused(Exception):
    """What the acquirer answers."""


@shared_task(
    name="shop.refund", max_tries=1, limit=Limit("acquirer", concurrency=4, breaker=Breaker(least=10))
)
def refund(order: int) -> None:
    time.sleep(0.05)
    if order % 4:
        raise CardRefused(f"order {order}: the acquirer does not answer")


@shared_task(name="shop.sync", limit=Limit("tenant", concurrency=2, key="tenant"))
def sync(tenant: str) -> None:
    time.sleep(8)


@shared_task(name="reports.stock")
def stock_report() -> None:
    time.sleep(25)


def enqueue() -> None:
    """So many jobs that the breaker opens, and a schedule that is due before its last job has ended."""
    from app.celery import app

    schedules.register("stock report", "reports.stock", every=10, overlap="skip", app=app)
    for order in range(_ORDERS):
        refund.delay(order)
    for tenant in _TENANTS * 4:
        sync.delay(tenant=tenant)


if __name__ == "__main__":
    enqueue()
