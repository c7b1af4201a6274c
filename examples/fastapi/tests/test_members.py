from datetime import timedelta

import httpx
from sqlmodel import Session, select

from shop import database, tasks
from shop.models import Digest


def join(client, email="ada@example.org"):
    return client.post("/members", json={"email": email})


def answers(monkeypatch, *statuses):
    """Let the mail service answer with these, one a call."""
    left = list(statuses)

    def post(url, **_):
        return httpx.Response(left.pop(0), request=httpx.Request("POST", url))

    monkeypatch.setattr(tasks.httpx, "post", post)


def test_a_member_is_welcomed(client, celeriac, monkeypatch):
    answers(monkeypatch, 202)
    joined = join(client)
    assert joined.status_code == 202
    celeriac.assert_enqueued(tasks.welcome, joined.json()["id"])
    celeriac.drain()
    assert client.get(f"/members/{joined.json()['id']}").json()["welcomed"]
    assert client.get(f"/jobs/{joined.json()['job']}").json()["state"] == "completed"


def test_a_mail_service_that_is_ill_is_tried_again(client, celeriac, monkeypatch):
    answers(monkeypatch, 503, 202)
    joined = join(client).json()
    celeriac.drain()
    waiting = {"task": "shop.welcome", "state": "error", "tries": 1}
    assert client.get(f"/jobs/{joined['job']}").json() == waiting
    celeriac.travel(timedelta(hours=1))
    celeriac.drain()
    assert client.get(f"/members/{joined['id']}").json()["welcomed"]


def test_an_address_that_is_known_leaves_no_second_job(client, celeriac):
    assert join(client).status_code == 202
    assert join(client).status_code == 409
    assert len(celeriac.jobs(tasks.welcome)) == 1


def test_a_digest_is_counted_once(client, celeriac):
    client.post("/digests")
    celeriac.drain()
    with Session(database.engine) as session:
        assert [each.members for each in session.exec(select(Digest))] == [0]
