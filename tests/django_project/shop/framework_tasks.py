"""Tasks of Django's own framework."""

from typing import Any

from shop.models import Order
from shop.tasks_framework import task


@task
def confirm(order_id: int) -> str:
    """Confirm an order."""
    Order.objects.filter(pk=order_id).update(confirmed=True)
    return f"order {order_id}"


@task(priority=50)
async def double(amount: int) -> int:
    """Double it, in a coroutine."""
    return 2 * amount


@task(takes_context=True)
def attempt(context: Any, *, fail_until: int) -> int:
    """Fail until an attempt."""
    if context.attempt < fail_until:
        raise ConnectionError(f"attempt {context.attempt}")
    return int(context.attempt)
