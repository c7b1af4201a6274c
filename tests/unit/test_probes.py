"""The probes' server: whom it answers, and how many at a time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from celeriac.observe.liveness import LivenessReporter
from celeriac.observe.probes import MOST, ProbeServer, serve
from celeriac.settings.platform import Settings
from tests.servers import HOST, free_port
from tests.support import wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ProbeServer]:
    settings = Settings(data_dir=tmp_path, health_port=free_port(), health_hosts="Worker.jobs.svc")
    made = serve(settings, LivenessReporter("worker", settings, connected=lambda: True))
    assert made is not None
    yield made
    made.stop()


def status(server: ProbeServer, host: str | None) -> int:
    with closing(HTTPConnection(HOST, server.server_port, timeout=10)) as connection:
        connection.putrequest("GET", "/live", skip_host=True)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        return connection.getresponse().status


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3:8080",
        "[::1]:8080",
        "localhost:1",
        "worker",
        "worker.jobs.svc:8080",
        socket.gethostname(),
        None,
    ],
)
def test_who_names_an_address_or_a_known_host_is_answered(server: ProbeServer, host: str | None) -> None:
    assert status(server, host) != 421


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "worker.jobs"])
def test_a_page_in_a_browser_cannot_read_it(server: ProbeServer, host: str) -> None:
    """Its name was made to lead here; the browser tells it all the same."""
    assert status(server, host) == 421


def test_silent_connections_keep_nobody_out_and_are_bounded(server: ProbeServer) -> None:
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection((HOST, server.server_port), timeout=60))
            for _ in range(3 * MOST)
        ]
        assert status(server, HOST) != 421
        for one in silent[: 2 * MOST]:
            assert one.recv(1) == b""  # cut off, long before its silence would be
        assert len(server._open) <= MOST
    wait_until(lambda: not server._open, within=60, saying="nothing is kept of who has hung up")
