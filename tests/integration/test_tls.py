"""Redis over TLS, with a password: a TLS front before the real server, as a provider has it."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.doctor import Level, examine
from app.factory import build
from app.settings import Settings
from tests.servers import HOST, ValkeyServer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for the loopback interface, and its key."""
    openssl, home = shutil.which("openssl"), tmp_path_factory.mktemp("tls")
    assert openssl, "openssl is needed to make a certificate"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    files = ["-keyout", str(home / "key.pem"), "-out", str(home / "cert.pem")]
    extension = ["-addext", f"subjectAltName=IP:{HOST}"]
    subprocess.run([openssl, *words, *files, *extension], check=True, capture_output=True, timeout=60)
    return home / "cert.pem", home / "key.pem"


class Front:
    """Speaks TLS to whoever connects, and plainly to the server behind it."""

    def __init__(self, behind: int, certificate: tuple[Path, Path]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self._behind = behind
        self._listener = context.wrap_socket(socket.create_server((HOST, 0)), server_side=True)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while self._listener.fileno() >= 0:
            with suppress(OSError):
                client, _ = self._listener.accept()
                server = socket.create_connection((HOST, self._behind))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError), source, sink:
        while data := source.recv(65_536):
            sink.sendall(data)


@pytest.fixture
def front(certificate: tuple[Path, Path]) -> Iterator[Front]:
    with ValkeyServer() as server:
        server.configure(requirepass="hunter2")
        made = Front(server.port, certificate)
        yield made
        made.close()
        server.process.kill()


def levels(url: str, database: str) -> dict[str, Level]:
    app = build(Settings(broker_url=url, database_url=database, schedule_module="none"), set_as_current=False)
    try:
        return {f"{one.area} {one.check}": one.level for one in examine(app)}
    finally:
        app.database.close()


def test_broker_results_and_lock_are_reached_over_tls(
    front: Front, certificate: tuple[Path, Path], sqlite_url: str
) -> None:
    query = f"ssl_cert_reqs=required&ssl_ca_certs={certificate[0]}"
    found = levels(f"rediss://:hunter2@{HOST}:{front.port}/0?{query}", sqlite_url)
    assert found["broker version"] is Level.OK
    assert found["beat leader"] is Level.WARN  # asked, and nobody leads
    assert "broker results" not in found


def test_a_certificate_that_nobody_vouches_for_is_refused(front: Front, sqlite_url: str) -> None:
    found = levels(f"rediss://:hunter2@{HOST}:{front.port}/0?ssl_cert_reqs=required", sqlite_url)
    assert found["broker broker"] is Level.FAIL
