"""Tasks of the shop."""

from celery import shared_task
from django.db import transaction

from celeriac import complete_in
from shop.models import Order


@shared_task
def confirm(order_id: int) -> str:
    """Confirm an order."""
    Order.objects.filter(pk=order_id).update(confirmed=True)
    return f"order {order_id}"


@shared_task(max_tries=1)
def fail(message: str) -> None:
    """Fail at once."""
    raise ValueError(message)


@shared_task
def total(amounts: list[int]) -> int:
    """Sum up."""
    return sum(amounts)


@shared_task
def double(amount: int) -> int:
    """Double it."""
    return 2 * amount


@shared_task(max_tries=1)
def book(order_id: int, *, stop: bool = False) -> None:
    """Confirm an order and complete this job in one transaction; ``stop`` rolls it back."""
    with transaction.atomic():
        Order.objects.filter(pk=order_id).update(confirmed=True)
        complete_in(result="booked")
        if stop:
            raise ValueError("rolled back")


@shared_task
def confirm_and_tell(order_id: int) -> str:
    """Enqueue another job in the transaction of this one's work."""
    with transaction.atomic():
        Order.objects.filter(pk=order_id).update(confirmed=True)
        return str(double.delay(order_id).id)
