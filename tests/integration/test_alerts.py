"""Alerts on both databases: found, told once, told again when they grow, and over; sent to real receivers."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from app.demo.receiver import genuine
from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.ledger.schema.models import FAILURES, JOBS, SCHEDULES, WORKERS
from celeriac.maintenance import ALERT
from celeriac.notify.http_post import NotTaken, Unreachable
from celeriac.notify.mail import NotMailed
from celeriac.notify.message import title
from celeriac.operate.actions import list_actions
from celeriac.operate.alerts import rounds
from celeriac.operate.job import Job, jobs
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.commands import call, told
from tests.integration.test_tls import certified
from tests.receivers import Endpoint, MailBox, endpoint, mail_box
from tests.support import wait_until
from tests.workers import Worker

SECRET = "of the tests"


@pytest.fixture
def receiver() -> Iterator[Endpoint]:
    with endpoint() as found:
        yield found


@pytest.fixture
def make_app(redis_url: str, database_url: str) -> Iterator[Callable[..., Celeriac]]:
    made: list[Celeriac] = []

    def make(**settings: Any) -> Celeriac:
        known = {"broker_url": redis_url, "database_url": database_url, "console_environment": "shop"}
        made.append(mail_app(Settings(**known | settings), name="alerts"))
        return made[-1]

    yield make
    for app in made:
        app.close()


@pytest.fixture
def app(make_app: Callable[..., Celeriac], receiver: Endpoint) -> Celeriac:
    return make_app(
        alert_webhook=f"{receiver.url}/in?key=hunter2",
        alert_webhook_secret=SECRET,
        console_url="https://ops.example.org/jobs/",
    )


def write(app: Celeriac, *rows: dict[str, Any]) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), list(rows))


def fail(app: Celeriac, count: int) -> None:
    """So many more dead letters of one cause."""
    dead = [stock.failed(queued=stock.before(30)) for _ in range(count)]
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), dead)
        connection.execute(insert(FAILURES), [stock.failure(one) for one in dead])


def look(app: Celeriac, quiet: float = 0.0) -> int:
    return rounds.look(app, every=0.0, quiet=quiet)


def sent(app: Celeriac) -> list[Job]:
    """The jobs that tell alerts, the oldest first."""
    found = [one for one in jobs(limit=100, app=app) if one.task == ALERT]
    return sorted(found, key=lambda one: one.queued)


def states(app: Celeriac) -> list[list[tuple[str, str]]]:
    """What each job tells: states and kinds."""
    return [[(each["state"], each["kind"]) for each in one.args[1]["alerts"]] for one in sent(app)]


# Found and told


def test_a_trouble_of_each_kind_is_told_once(app: Celeriac) -> None:
    assert look(app) == 0
    fail(app, 3)
    write(app, stock.pending(queued=stock.before(700), queue="low"))
    schedules.register("nightly", "mail.send", args=["a"], every=3600, app=app)
    with app.database.transaction() as connection:
        connection.execute(insert(WORKERS), [stock.worker(heartbeat=stock.before(60))])
        connection.execute(update(SCHEDULES).values(next_run=stock.before(100)))
    assert look(app) == 4
    assert look(app) == 0
    (job,) = sent(app)
    kinds = {each["kind"]: each for each in job.args[1]["alerts"]}
    assert kinds.keys() == {"failures", "queue", "worker", "schedule"}
    assert kinds["failures"]["url"].startswith("https://ops.example.org/jobs/dead/")
    assert kinds["schedule"]["url"] == "https://ops.example.org/jobs/schedules/nightly"
    assert (job.queue, job.args[0], job.args[1]["environment"]) == ("critical", "webhook", "shop")
    assert "hunter2" not in repr(job)
    assert {each.kind for each in rounds.list_alerts(app=app)} == kinds.keys()


def test_a_group_that_grows_is_told_again_and_its_end_as_well(app: Celeriac) -> None:
    fail(app, 3)
    look(app)
    fail(app, 9)
    assert look(app) == 0
    fail(app, 1)
    assert look(app) == 1
    with app.database.transaction() as connection:
        connection.execute(delete(FAILURES))
        connection.execute(delete(JOBS).where(JOBS.c.job_type == "mail.send"))
    assert look(app, quiet=3600) == 0  # it may come again in a moment
    assert look(app) == 1
    assert look(app) == 0
    assert states(app) == [[("raised", "failures")], [("grown", "failures")], [("over", "failures")]]
    assert rounds.list_alerts(app=app) == []
    fail(app, 1)
    assert look(app) == 1


def test_of_many_processes_one_looks(app: Celeriac) -> None:
    fail(app, 1)
    start = Barrier(4)

    def one(_: int) -> int:
        start.wait()
        return rounds.look(app)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(one, range(4))) == [0, 0, 0, 1]
    write(app, stock.pending(queued=stock.before(700), queue="low"))
    assert rounds.look(app) == 0  # until half a minute has passed
    assert look(app) == 1


def test_two_that_look_at_once_tell_each_alert_once(app: Celeriac) -> None:
    fail(app, 1)
    write(app, stock.pending(queued=stock.before(700), queue="low"))
    start = Barrier(3)

    def one(_: int) -> int:
        start.wait()
        return look(app)

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(one, range(3))) == 2
    assert sorted(pair for one in states(app) for pair in one) == [
        ("raised", "failures"),
        ("raised", "queue"),
    ]


def test_there_is_a_job_for_each_receiver(make_app: Callable[..., Celeriac]) -> None:
    app = make_app(
        alert_webhook="http://127.0.0.1:1/",
        alert_slack="http://127.0.0.1:1/",
        alert_email="ops@example.org",
        smtp_url="smtp://127.0.0.1:1",
    )
    fail(app, 1)
    assert look(app) == 1
    assert sorted(one.args[0] for one in sent(app)) == ["email", "slack", "webhook"]


# Sent

MESSAGE = {
    "environment": "shop",
    "alerts": [
        {
            "state": "raised",
            "key": "queue:low",
            "kind": "queue",
            "sentence": "queue low is late <!channel>",
            "path": "/queues",
            "url": "https://ops.example.org/queues",
        }
    ],
}


def run(app: Celeriac, channel: str) -> None:
    """Run the task as a worker does, in this process."""
    app.tasks[ALERT](channel, MESSAGE)


def test_a_webhook_is_signed(app: Celeriac, receiver: Endpoint) -> None:
    run(app, "webhook")
    (seen,) = receiver.seen
    assert seen.path == "/in?key=hunter2"
    assert json.loads(seen.body) == MESSAGE
    assert genuine(seen.headers, seen.body, secret=SECRET.encode(), now=time.time())
    assert not genuine(seen.headers, seen.body, secret=b"another", now=time.time())


def test_a_chat_is_told_a_text_that_calls_nobody(
    make_app: Callable[..., Celeriac], receiver: Endpoint
) -> None:
    run(make_app(alert_slack=f"{receiver.url}/T0/B0"), "slack")
    (seen,) = receiver.seen
    text = json.loads(seen.body)["text"]
    assert text.splitlines()[0] == "[shop] queue low is late &lt;!channel&gt;"
    assert "https://ops.example.org/queues" in text


def test_a_receiver_that_does_not_take_it_is_an_error_without_its_secret(
    app: Celeriac, make_app: Callable[..., Celeriac], receiver: Endpoint
) -> None:
    receiver.status = 500
    with pytest.raises(NotTaken, match="did not take it, with 500") as refused:
        run(app, "webhook")
    away = make_app(alert_slack="http://u:hunter2@127.0.0.1:1/hunter2")
    with pytest.raises(Unreachable, match="gave no answer: Connection refused") as unreachable:
        run(away, "slack")
    assert "hunter2" not in f"{refused.value} {unreachable.value}"


@pytest.fixture
def box() -> Iterator[MailBox]:
    with mail_box() as found:
        yield found


def mailing(make_app: Callable[..., Celeriac], server: str) -> Celeriac:
    return make_app(alert_email="ops@example.org,ann@example.org", smtp_url=server)


def test_a_mail_says_what_is_wrong_and_where(make_app: Callable[..., Celeriac], box: MailBox) -> None:
    run(mailing(make_app, f"smtp://127.0.0.1:{box.port}"), "email")
    (mail,) = box.mails
    assert mail["Subject"] == "[shop] queue low is late <!channel>"
    assert mail["To"] == "ops@example.org, ann@example.org"
    assert "https://ops.example.org/queues" in mail.get_content()


def test_a_password_is_sent_to_no_server_that_does_not_encrypt(
    make_app: Callable[..., Celeriac], box: MailBox
) -> None:
    app = mailing(make_app, f"smtp://ops:right%20horse@127.0.0.1:{box.port}")
    with pytest.raises(NotMailed, match="the password was not sent"):
        run(app, "email")
    assert box.passwords == []
    assert box.mails == []


def test_a_mail_is_sent_encrypted_and_with_a_password(
    make_app: Callable[..., Celeriac], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = certified(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with mail_box(tls=context) as box:
        server = f"127.0.0.1:{box.port}"
        with pytest.raises(NotMailed):  # nobody vouches for the certificate
            run(mailing(make_app, f"smtp://ops:right%20horse@{server}"), "email")
        assert box.passwords == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        run(mailing(make_app, f"smtp://ops:right%20horse@{server}"), "email")
        assert len(box.mails) == 1
        with pytest.raises(NotMailed, match="refused the name and password") as refused:
            run(mailing(make_app, f"smtp://ops:hunter2@{server}"), "email")
        assert "hunter2" not in str(refused.value)


def test_a_real_worker_tells_a_dead_letter(
    app: Celeriac, receiver: Endpoint, redis_url: str, database_url: str, start_worker: Callable[..., Worker]
) -> None:
    fail(app, 1)
    settings = {"alert_webhook": f"{receiver.url}/in", "alert_webhook_secret": SECRET}
    start_worker(redis_url, database_url, settings=settings).ready()
    wait_until(lambda: receiver.seen, within=30, saying="the alert arrives")
    body = json.loads(receiver.seen[0].body)
    assert "mail.send fails with KeyError" in body["alerts"][0]["sentence"]
    (job,) = sent(app)
    assert receiver.seen[0].headers["webhook-id"] == job.id
    wait_until(lambda: sent(app)[0].is_terminal, within=30, saying="the job that told it ends")
    assert told(app, "jobs", "list", "--task", ALERT)["jobs"][0]["state"] == "completed"
    (tried,) = told(app, "alerts", "test")["sent"]
    assert (tried["channel"], tried["taken"]) == ("webhook", True)
    assert "test: this is a test" in title(json.loads(receiver.seen[1].body))
    receiver.status = 500
    refused = call(app, "alerts", "test")
    assert (refused.exit_code, "did not take it, with 500" in refused.stdout) == (1, True)


def test_a_test_message_needs_a_receiver_and_a_worker(
    make_app: Callable[..., Celeriac], app: Celeriac
) -> None:
    nobody = call(make_app(), "alerts", "test")
    assert (nobody.exit_code, "set CELERIAC_ALERT_WEBHOOK" in nobody.stderr) == (2, True)
    waits = call(app, "alerts", "test", "--wait", "0")
    assert (waits.exit_code, "is a worker running?" in waits.stdout) == (1, True)
    (job,) = sent(app)
    assert job.args[1]["alerts"][0]["url"] == "https://ops.example.org/jobs/doctor"
    assert [each.action for each in list_actions(app=app).actions] == ["alerts test"]
    assert call(app, "alerts", "list").exit_code == 1, "a test is no trouble"
