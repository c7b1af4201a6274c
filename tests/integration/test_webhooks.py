"""Webhooks over real sockets: what is sent, what each answer leads to, and what a real worker does then."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.demo.receiver import TOLERANCE, Receiver, genuine
from celeriac.application import Celeriac
from celeriac.ledger.schema.lifecycle import TERMINAL, JobState
from celeriac.operate.job import Job, job
from celeriac.settings.platform import Settings, free_port
from tasks.exchange import ANSWER_LIMIT
from tasks.webhooks import NotTaken, Refused, Unreachable, deliver
from tests.apps import build
from tests.support import wait_until
from tests.workers import Worker

SECRET = b"of the tests"
VARIABLE = "WEBHOOK_SECRET_TESTS"
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Seen:
    """One request, as the receiver saw it."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Endpoint:
    """A receiver that says ``status`` to everything."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seen: list[Seen] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    told = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.seen.append(Seen(self.path, headers, body))
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # the sender had enough
                self.wfile.write(told.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield told
        server.shutdown()
        thread.join()


@contextmanager
def raw_server(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server of one connection that says what ``talk`` writes, HTTP or not; the event says when to end."""
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                talk(connection, ended)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
        ended.set()
        thread.join()


def _silent(connection: socket.socket, ended: threading.Event) -> None:
    ended.wait(10)


def _saying(answer: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        request = b""
        while not request.endswith(b"{}"):  # or closing it would reset it
            request += connection.recv(65_536)
        connection.sendall(answer)

    return talk


def _trickling(beginning: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(beginning)
        while not ended.wait(0.02):
            connection.sendall(b"x")

    return talk


# ---- one delivery, in this process


def test_a_delivery_is_a_signed_post(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET.decode())
    payload = {"event": "paid", "who": "Zoë"}
    deliver(f"{endpoint.url}/in?a=1#top", payload, secret_env=VARIABLE, headers={"X-Shop": "7"})
    (seen,) = endpoint.seen
    assert (seen.path, json.loads(seen.body)) == ("/in?a=1", payload)
    assert (seen.headers["content-type"], seen.headers["x-shop"]) == ("application/json", "7")
    signed = f"{seen.headers['webhook-id']}.{seen.headers['webhook-timestamp']}.".encode() + seen.body
    code = base64.b64encode(hmac.digest(SECRET, signed, "sha256")).decode()
    assert seen.headers["webhook-signature"] == f"v1,{code}"


def test_a_delivery_without_a_secret_is_not_signed(endpoint: Endpoint) -> None:
    deliver(endpoint.url, None)
    (seen,) = endpoint.seen
    assert (seen.path, seen.body) == ("/", b"null")
    assert "webhook-signature" not in seen.headers


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_an_answer_of_success_is_returned(endpoint: Endpoint, status: int) -> None:
    endpoint.status, endpoint.headers, endpoint.body = status, {"Content-Type": "text/plain"}, b"thank\nyou"
    assert deliver(endpoint.url, {}) == {"status": status, "answer": "thank you"}


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_a_refusal_says_what_the_receiver_said(endpoint: Endpoint, status: int) -> None:
    endpoint.status, endpoint.headers = status, {"Content-Type": "application/json"}
    endpoint.body = b'{"error": "no such order"}'
    with pytest.raises(Refused) as refused:
        deliver(f"{endpoint.url}/path?key=hidden", {})
    assert str(refused.value) == f'{endpoint.url} refused it with {status}: {{"error": "no such order"}}'


@pytest.mark.parametrize("status", [429, 500, 503, 599])
def test_trouble_is_told_apart_from_a_refusal(endpoint: Endpoint, status: int) -> None:
    endpoint.status = status
    with pytest.raises(NotTaken, match=f"did not take it, with {status}$"):
        deliver(endpoint.url, {})


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(endpoint: Endpoint, status: int) -> None:
    endpoint.status, endpoint.headers = status, {"Location": f"{endpoint.url}/elsewhere"}
    with pytest.raises(Refused):
        deliver(f"{endpoint.url}/here", {})
    assert [seen.path for seen in endpoint.seen] == ["/here"]


def test_a_proxy_of_the_environment_is_not_used(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert deliver(endpoint.url, {})["status"] == 200


def test_of_a_long_answer_only_the_beginning_is_read(endpoint: Endpoint) -> None:
    endpoint.headers, endpoint.body = {"Content-Type": "text/plain"}, b"x" * (200 * ANSWER_LIMIT)
    assert deliver(endpoint.url, {})["answer"] == "x" * 200


def test_a_port_where_nobody_listens_gives_no_answer() -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        deliver(f"http://127.0.0.1:{free_port()}/", {})


def test_a_name_that_is_not_known_gives_no_answer() -> None:
    with pytest.raises(Unreachable, match=r"^http://nowhere\.invalid gave no answer: "):
        deliver("http://nowhere.invalid/", {})


def test_a_receiver_that_speaks_no_tls_gives_no_answer(endpoint: Endpoint) -> None:
    with pytest.raises(Unreachable):
        deliver(endpoint.url.replace("http:", "https:"), {}, timeout=5)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"220 mail.example.org ESMTP\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-header: 1\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx-header: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=["silence", "mail", "no number", "many headers", "long header"],
)
def test_an_answer_that_is_no_http_is_no_answer(answer: bytes) -> None:
    with raw_server(_saying(answer)) as url, pytest.raises(Unreachable):
        deliver(url, {}, timeout=5)


@pytest.mark.parametrize(
    "body", [b"Content-Length: 9\r\n\r\nshort", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"]
)
def test_what_was_taken_is_taken_even_if_the_answer_breaks_off(body: bytes) -> None:
    with raw_server(_saying(b"HTTP/1.1 201 Created\r\n" + body)) as url:
        assert deliver(url, {}, timeout=5)["status"] == 201


def test_a_receiver_that_says_nothing_is_left_after_the_timeout() -> None:
    with raw_server(_silent) as url, pytest.raises(Unreachable, match="timed out"):
        deliver(url, {}, timeout=0.2)


def test_a_receiver_that_trickles_is_left_after_the_timeout() -> None:
    with (
        raw_server(_trickling(b"HTTP/1.1 200 OK\r\nx-header: ")) as url,
        pytest.raises(Unreachable, match="timed out"),
    ):
        deliver(url, {}, timeout=0.3)


def test_a_body_that_trickles_is_read_until_the_timeout() -> None:
    with raw_server(_trickling(b"HTTP/1.1 200 OK\r\n\r\n")) as url:
        assert deliver(url, {}, timeout=0.3)["status"] == 200


def test_a_receiver_that_does_not_read_is_left_after_the_timeout() -> None:
    with raw_server(_silent) as url, pytest.raises(Unreachable, match="timed out"):
        deliver(url, "x" * 20_000_000, timeout=0.3)


# ---- the demonstration's receiver


def test_the_receiver_knows_a_forged_a_changed_and_an_old_delivery() -> None:
    with Receiver(SECRET) as receiver:
        assert receiver.url.startswith("http://127.0.0.1:")
    body, now = b"{}", 1_735_689_600.0
    headers = {"webhook-id": "some-id", "webhook-timestamp": "1735689600"}
    code = hmac.digest(SECRET, b"some-id.1735689600.{}", "sha256")
    headers["webhook-signature"] = f"v1,b2xk v1,{base64.b64encode(code).decode()}"
    assert genuine(headers, body, secret=SECRET, now=now)
    assert genuine(headers, body, secret=SECRET, now=now + TOLERANCE)
    assert not genuine(headers, body, secret=SECRET, now=now + TOLERANCE + 1)
    assert not genuine(headers, body, secret=b"another", now=now)
    assert not genuine(headers, b"{ }", secret=SECRET, now=now)
    for name in headers:
        assert not genuine({**headers, name: "x"}, body, secret=SECRET, now=now)
        assert not genuine({k: v for k, v in headers.items() if k != name}, body, secret=SECRET, now=now)


@pytest.mark.parametrize(
    ("path", "error"), [("/flaky", NotTaken), ("/gone", Refused), ("/elsewhere", Refused)]
)
def test_the_receiver_misbehaves_by_rule(
    path: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET.decode())
    with Receiver(SECRET) as receiver, pytest.raises(error):
        deliver(f"{receiver.url}{path}", {}, secret_env=VARIABLE)


def test_the_receiver_takes_nothing_that_is_not_signed() -> None:
    with Receiver(SECRET) as receiver, pytest.raises(Refused, match="401"):
        deliver(f"{receiver.url}/ok", {})


# ---- a real worker


@dataclass
class Stand:
    app: Celeriac
    worker: Worker
    receiver: Receiver

    def ended(self, path: str, **options: Any) -> Job:
        """A delivery to ``path``, once it is terminal."""
        return self.settled(f"{self.receiver.url}{path}", secret_env=VARIABLE, **options)

    def settled(self, url: Any, *, secret_env: str | None = None, **options: Any) -> Job:
        task = self.app.tasks["webhooks.deliver"]
        id = str(task.apply_async((url, {"n": 1}), {"secret_env": secret_env}, **options).id)
        wait_until(
            lambda: job(id, app=self.app).state in TERMINAL, within=60, saying=f"delivery to {url} ends"
        )
        return job(id, app=self.app)


@pytest.fixture
def stand(sqlite_url: str, redis_url: str, start_worker: Callable[..., Worker]) -> Iterator[Stand]:
    quick = {"retry_base": 0.05, "retry_jitter": 0}
    settings = Settings(broker_url=redis_url, database_url=sqlite_url, **quick)
    app = build(settings, set_as_current=False)
    with Receiver(SECRET) as receiver, closing(app), closing(app.database):
        environment = {**quick, VARIABLE: SECRET.decode()}
        worker = start_worker(redis_url, sqlite_url, pool="threads", settings=environment)
        yield Stand(app, worker.ready(), receiver)


def gaps(done: Job) -> list[timedelta]:
    """Between the end of each unsuccessful attempt and the start of the last one."""
    assert done.started is not None
    return [done.started - attempt.finished for attempt in done.attempts]


def test_a_worker_delivers_as_each_answer_asks(stand: Stand) -> None:
    taken, flaky, limited = stand.ended("/ok"), stand.ended("/flaky"), stand.ended("/limited")
    gone, broken = stand.ended("/gone"), stand.ended("/broken", max_tries=3)
    away = stand.settled(f"http://127.0.0.1:{free_port()}/", max_tries=2)

    assert (taken.state, taken.try_count, taken.result) == (
        JobState.COMPLETED,
        1,
        {"status": 200, "answer": "OK"},
    )
    assert (flaky.state, flaky.try_count) == (JobState.COMPLETED, 2)
    assert stand.receiver.deliveries("/flaky") == {flaky.id: 2}, "both attempts came under the job's id"

    assert (limited.state, limited.try_count) == (JobState.COMPLETED, 2)
    assert gaps(limited)[0] >= timedelta(seconds=1), "it came back before Retry-After"
    assert gaps(flaky)[0] < timedelta(seconds=1), "without Retry-After it is the job's own backoff"

    assert (gone.state, gone.try_count, gone.max_tries) == (JobState.FAILED, 1, 5)
    assert [attempt.exception_type for attempt in gone.attempts] == ["tasks.webhooks.Refused"]
    assert stand.receiver.deliveries("/gone") == {gone.id: 1}

    assert (broken.state, broken.try_count) == (JobState.FAILED, 3)
    assert [attempt.exception_type for attempt in broken.attempts] == ["tasks.webhooks.NotTaken"] * 3
    assert (away.state, [attempt.exception_type for attempt in away.attempts]) == (
        JobState.FAILED,
        ["tasks.webhooks.Unreachable"] * 2,
    )


def test_what_the_receiver_never_saw_tells_why_and_no_secret(stand: Stand, tmp_path: Path) -> None:
    bad = stand.settled("ftp://127.0.0.1/")
    assert (bad.state, bad.try_count) == (JobState.FAILED, 1)
    assert (
        bad.failure_info == "error: tasks.delivery.BadDelivery: url: wanted http://host/… or https://host/…"
    )

    unsigned = stand.settled(f"{stand.receiver.url}/ok", secret_env="WEBHOOK_SECRET_OTHER", max_tries=2)
    assert [attempt.exception_type for attempt in unsigned.attempts] == ["tasks.delivery.SecretMissing"] * 2
    assert stand.receiver.deliveries("/ok") == {}

    signed = stand.ended("/flaky")
    assert signed.try_count == 2
    assert SECRET.decode() not in signed.to_json() + stand.worker.log
    assert not [path for path in tmp_path.iterdir() if SECRET in path.read_bytes()], "it is in the ledger"


# ---- the package of tasks


def _python(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    return run.stdout.strip()


_LOADED = "print(*sorted(name for name in sys.modules if name.startswith('tasks.')))"


def test_a_producer_loads_only_the_tasks_that_it_imports() -> None:
    loaded = _python(f"import sys, tasks.webhooks; {_LOADED}").split()
    assert loaded == ["tasks.delivery", "tasks.exchange", "tasks.webhooks"]


@pytest.mark.parametrize("before", ["app.celery", "tasks.webhooks"])
def test_every_module_of_tasks_is_loaded_when_celery_asks(before: str) -> None:
    code = f"import sys, {before}; from app.celery import app; app.loader.import_default_modules(); {_LOADED}"
    there = {f"tasks.{path.stem}" for path in (ROOT / "tasks").glob("[a-z]*.py")}
    assert set(_python(code).split()) == there
