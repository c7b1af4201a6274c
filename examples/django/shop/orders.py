from django.db import transaction
from django.db.models import Sum

from shop.models import Order
from shop.tasks import charge

LIMIT = 100_000  # cents that may be open at once


class TooMuchOpen(Exception):
    """Too much is waiting to be paid."""


@transaction.atomic
def place(item: str, amount: int) -> tuple[Order, str]:
    """An order and the job that charges it: both, or neither."""
    order = Order.objects.create(item=item, amount=amount)
    result = charge.delay(order.pk)
    unpaid = Order.objects.filter(receipt="").aggregate(Sum("amount"))["amount__sum"]
    if unpaid > LIMIT:
        raise TooMuchOpen  # takes the job back, too
    return order, result.id
