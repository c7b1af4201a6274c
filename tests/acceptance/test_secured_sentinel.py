"""A sentinel with a password of its own and a server with another, all of it over TLS.

Sentinel speaks plainly, to the server too: the wheel's was built without OpenSSL. So a front before each of
them speaks TLS with the clients, and passes on what sentinel says plainly.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tests.jobs  # noqa: F401
from celeriac import Celeriac
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.doctor import examine
from celeriac.operate.job import job
from celeriac.schedules import register
from tests.integration.test_tls import Front, certified
from tests.servers import HOST, Sentinel, SentinelGroup, ValkeyServer
from tests.support import wait_until
from tests.workers import CeleryProcess, Worker, environment

LONG = 60.0
APP = "tests.sentinel_app"
OF_SERVER, OF_SENTINEL = "hunter2", "hunter3"


class EitherFront(Front):
    """Takes also a client that does not ask for TLS."""

    def _greeted(self, client: socket.socket) -> socket.socket:
        hello = client.recv(1, socket.MSG_PEEK)
        return super()._greeted(client) if hello == b"\x16" else client


@dataclass(frozen=True)
class Secured:
    server: ValkeyServer
    url: str
    certificate: str

    def options(self, password: str = OF_SENTINEL) -> dict[str, Any]:
        """What Celery is told of them. Plain JSON."""
        tls = {"ssl_ca_certs": self.certificate, "ssl_cert_reqs": "required"}
        asked = {"password": password, "ssl": True, **tls}
        transport = {"master_name": SentinelGroup.MASTER, "sentinel_kwargs": asked}
        return {"broker_use_ssl": tls, "broker_transport_options": transport}


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    certificate = certified(tmp_path)
    with ValkeyServer() as server, ExitStack() as stack:
        server.configure(requirepass=OF_SERVER)
        front = stack.enter_context(closing(EitherFront(server.port, certificate)))
        sentinel = Sentinel(master=front.port, quorum=1, password=OF_SENTINEL, masters_password=OF_SERVER)
        stack.enter_context(sentinel)
        before = stack.enter_context(closing(Front(sentinel.port, certificate)))
        url = f"sentinel://:{OF_SERVER}@{HOST}:{before.port}/0"
        yield Secured(server, url, str(certificate[0]))


def shop(secured: Secured, postgres_url: str, data_dir: Path, password: str = OF_SENTINEL) -> Celeriac:
    return Celeriac(
        "app",
        broker=secured.url,
        ledger=postgres_url,
        celeriac_data_dir=data_dir,
        set_as_current=False,
        **secured.options(password),
    )


def findings(app: Celeriac) -> dict[str, str]:
    return {one.check: f"{one.level}: {one.sentence}" for one in examine(app) if one.area == "broker"}


def test_everything_works_with_a_sentinel_behind_tls_and_a_password(
    secured: Secured,
    postgres_url: str,
    tmp_path: Path,
    start_worker: Callable[..., Worker],
) -> None:
    settings = {"data_dir": tmp_path, SentinelGroup.OPTIONS: json.dumps(secured.options())}
    env = environment(secured.url, postgres_url, settings)
    worker = start_worker(secured.url, postgres_url, settings=settings, app=APP).ready()
    with (
        closing(shop(secured, postgres_url, tmp_path)) as app,
        CeleryProcess("beat", (), env=env, app=APP) as beat,
    ):
        register("tick", "tests.add", args=(1, 1), every=1, app=app)
        result = app.tasks["tests.add"].delay(2, 3)
        assert result.get(timeout=LONG) == 5
        meta = f"celery-task-meta-{result.id}"
        wait_until(lambda: app.backend.client.exists(meta), within=LONG, saying="its result is stored")
        lock = "celeriac:redbeat::lock"
        wait_until(lambda: app.backend.client.exists(lock), within=LONG, saying="a beat leads")
        assert app.control.ping(timeout=LONG, limit=1) == [{worker.node: {"ok": "pong"}}]
        assert findings(app)["sentinels"] == "ok: 1 of 1 sentinel answers"
        assert (worker.running, beat.running) == (True, True)
    for secret in (OF_SERVER, OF_SENTINEL):
        assert secret not in worker.log + beat.log


def test_a_wrong_password_for_the_sentinel_is_told_and_loses_no_job(
    secured: Secured, postgres_url: str, tmp_path: Path
) -> None:
    with closing(shop(secured, postgres_url, tmp_path, password="wrong")) as app:
        id = app.tasks["tests.add"].delay(2, 3).id
        assert job(id, app=app).state is JobState.PENDING
        assert findings(app)["sentinels"].startswith("fail: 0 of 1 sentinel")
