import io
import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.test import TestCase

from celeriac.contrib.django.models import Job
from shop import orders, tasks
from shop.models import Order, Turnover


def place(client, amount=500):
    return client.post("/orders", {"item": "tea", "amount": amount}, content_type="application/json")


@pytest.fixture
def payments(monkeypatch):
    """What the payment service answers, one a call; None: it is away."""
    receipts = []

    def urlopen(request, timeout):
        receipt = receipts.pop(0)
        if receipt is None:
            raise ConnectionError("the payment service is away")
        return io.BytesIO(json.dumps({"receipt": receipt}).encode())

    monkeypatch.setattr(tasks, "urlopen", urlopen)
    return receipts


def test_an_order_is_charged(client, celeriac, payments):
    payments[:] = ["r-1"]
    placed = place(client)
    assert placed.status_code == 202
    celeriac.assert_enqueued(tasks.charge, placed.json()["id"])
    celeriac.drain()
    assert client.get(f"/orders/{placed.json()['id']}").json()["receipt"] == "r-1"
    assert client.get(f"/jobs/{placed.json()['job']}").json()["state"] == "completed"


def test_a_payment_service_that_is_away_is_tried_again(client, celeriac, payments):
    payments[:] = [None, "r-2"]
    placed = place(client)
    celeriac.drain()
    assert client.get(f"/jobs/{placed.json()['job']}").json()["state"] == "error"
    celeriac.travel(timedelta(hours=1))
    celeriac.drain()
    assert Order.objects.get().receipt == "r-2"


def test_an_order_that_is_refused_leaves_no_job(client, celeriac):
    assert place(client, orders.LIMIT + 1).status_code == 409
    celeriac.assert_nothing_enqueued()
    assert Order.objects.count() == 0


def test_an_order_is_placed_by_hand(celeriac, capsys):
    call_command("place_order", "coffee", 300)
    celeriac.assert_enqueued(tasks.charge, Order.objects.get().pk)
    assert "coffee" in capsys.readouterr().out


def test_turnover_is_what_was_paid(celeriac):
    Order.objects.create(item="tea", amount=500, receipt="r-1")
    Order.objects.create(item="tea", amount=700)
    tasks.count_turnover.delay()
    celeriac.drain()
    assert Turnover.objects.get().amount == 500


class PlaceOrder(TestCase):
    """A TestCase needs no fixture: its jobs are rows of the test's database, and are gone with it."""

    def test_the_job_is_in_the_transaction(self):
        with self.captureOnCommitCallbacks() as callbacks:
            order, job = orders.place("tea", 500)
        assert Job.objects.get(pk=job).details.args == [order.pk]
        assert len(callbacks) == 1  # its message would leave now
