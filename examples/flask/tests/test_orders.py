import io
import json
from datetime import timedelta

from shop import tasks
from shop.extensions import db
from shop.models import Order, Turnover


def place(client, amount=500):
    return client.post("/orders", json={"item": "tea", "amount": amount})


def answers(monkeypatch, *receipts):
    """Let the payment service give these receipts, one a call; None: it is away."""
    left = list(receipts)

    def urlopen(request, timeout):
        receipt = left.pop(0)
        if receipt is None:
            raise ConnectionError("the payment service is away")
        return io.BytesIO(json.dumps({"receipt": receipt}).encode())

    monkeypatch.setattr(tasks, "urlopen", urlopen)


def test_an_order_is_charged(client, celeriac, monkeypatch):
    answers(monkeypatch, "r-1")
    placed = place(client)
    assert placed.status_code == 202
    celeriac.assert_enqueued(tasks.charge, placed.json["id"])
    celeriac.drain()
    assert client.get(f"/orders/{placed.json['id']}").json["receipt"] == "r-1"
    assert client.get(f"/jobs/{placed.json['job']}").json["state"] == "completed"


def test_a_payment_service_that_is_away_is_tried_again(client, celeriac, monkeypatch):
    answers(monkeypatch, None, "r-2")
    placed = place(client)
    celeriac.drain()
    assert client.get(f"/jobs/{placed.json['job']}").json == {
        "task": "shop.charge",
        "state": "error",
        "tries": 1,
    }
    celeriac.travel(timedelta(hours=1))
    celeriac.drain()
    assert client.get(f"/orders/{placed.json['id']}").json["receipt"] == "r-2"


def test_an_order_that_is_refused_leaves_no_job(client, celeriac):
    assert place(client, amount=100_001).status_code == 409
    celeriac.assert_nothing_enqueued()
    assert db.session.query(Order).count() == 0


def test_the_command_places_an_order(flask_app, client, celeriac):
    ended = flask_app.test_cli_runner().invoke(args=["orders", "place", "tea", "500"])
    assert ended.exit_code == 0, ended.output
    celeriac.assert_enqueued(tasks.charge, 1)


def test_turnover_counts_what_is_paid(client, celeriac):
    db.session.add_all([Order(item="tea", amount=500, receipt="r"), Order(item="tea", amount=300)])
    db.session.commit()
    for _ in range(2):
        tasks.count_turnover.delay()
    assert [job.state for job in celeriac.drain()] == ["completed", "completed"]
    assert db.session.query(Turnover.amount).scalar() == 500
