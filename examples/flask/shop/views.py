from flask import Blueprint, abort, request

from celeriac import enqueue_in, job
from shop.extensions import db
from shop.models import Order
from shop.tasks import charge

bp = Blueprint("orders", __name__)

LIMIT = 100_000  # cents that may be open at once


@bp.post("/orders")
def place() -> tuple[dict, int]:
    """An order and the job that charges it: both, or neither."""
    order = Order(item=request.json["item"], amount=request.json["amount"])
    db.session.add(order)
    db.session.flush()
    with enqueue_in(db.session):
        result = charge.delay(order.id)
    if _open() > LIMIT:
        db.session.rollback()  # takes the job back, too
        abort(409, "too much is waiting to be paid")
    db.session.commit()
    return {"id": order.id, "job": result.id}, 202


@bp.get("/orders/<int:id>")
def show(id: int) -> dict:
    order = db.get_or_404(Order, id)
    return {"id": order.id, "item": order.item, "amount": order.amount, "receipt": order.receipt}


@bp.get("/jobs/<uuid:id>")
def show_job(id: object) -> dict:
    found = job(str(id))
    return {"task": found.task, "state": found.state, "tries": found.try_count}


def _open() -> int:
    unpaid = db.select(db.func.sum(Order.amount)).where(Order.receipt.is_(None))
    return db.session.execute(unpaid).scalar() or 0
