"""``flask orders …``: beside ``celery -A make_celery …``, which runs and looks after the jobs."""

import click
from flask.cli import AppGroup

from celeriac import enqueue_in
from shop.extensions import db
from shop.models import Order
from shop.tasks import charge

orders = AppGroup("orders", help="Orders, from the command line.")


@orders.command()
@click.argument("item")
@click.argument("amount", type=int)
def place(item: str, amount: int) -> None:
    """Place an order by hand, AMOUNT in cents."""
    order = Order(item=item, amount=amount)
    db.session.add(order)
    db.session.flush()
    with enqueue_in(db.session):
        result = charge.delay(order.id)
    db.session.commit()
    click.echo(f"order {order.id}, job {result.id}")
