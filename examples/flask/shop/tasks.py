import json
from datetime import date
from urllib.request import Request, urlopen

from celery import shared_task
from flask import current_app
from sqlalchemy import func

from shop.extensions import db
from shop.models import Order, Turnover


@shared_task(name="shop.charge", bind=True, max_tries=5)
def charge(self, order_id: int) -> str:
    """Take the money. What fails, the network above all, is tried again."""
    order = db.session.get_one(Order, order_id)
    request = Request(
        current_app.config["PAYMENTS_URL"],
        data=json.dumps({"order": order.id, "amount": order.amount}).encode(),
        headers={"Content-Type": "application/json", "Idempotency-Key": self.request.id},
    )
    with urlopen(request, timeout=10) as response:
        order.receipt = json.load(response)["receipt"]
    db.session.commit()
    return order.receipt


@shared_task(name="shop.count_turnover", max_tries=3)
def count_turnover() -> int:
    """Write down what has been paid so far; again, if it is asked again today."""
    paid = db.session.query(func.sum(Order.amount)).filter(Order.receipt.is_not(None)).scalar() or 0
    db.session.merge(Turnover(day=date.today(), amount=int(paid)))
    db.session.commit()
    return int(paid)
