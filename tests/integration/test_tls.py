"""Redis and PostgreSQL over TLS, with a password: a TLS front before the real server, as a provider has it.

The fronts are needed because neither wheel's server was built with OpenSSL. Certificates and passwords are
checked all the same: the first by the clients, the second by the servers.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from celeriac.errors import EnqueueError
from celeriac.ledger.migrate import upgrade
from celeriac.operate.doctor import Level, examine
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.servers import HOST, PostgresServer, ValkeyServer
from tests.support import wait_until
from tests.workers import Worker, celery, environment

PASSWORD = "hunter2"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for the loopback interface, and its key."""
    return certified(tmp_path_factory.mktemp("tls"))


def certified(home: Path) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    assert openssl, "openssl is needed to make a certificate"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    files = ["-keyout", str(home / "key.pem"), "-out", str(home / "cert.pem")]
    extension = ["-addext", f"subjectAltName=IP:{HOST}"]
    subprocess.run([openssl, *words, *files, *extension], check=True, capture_output=True, timeout=300)
    return home / "cert.pem", home / "key.pem"


class Front:
    """Speaks TLS to whoever connects, and plainly to the server behind it."""

    def __init__(self, behind: int, certificate: tuple[Path, Path]) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._behind = behind
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _greeted(self, client: socket.socket) -> socket.socket:
        return self._context.wrap_socket(client, server_side=True)

    def _accept(self) -> None:
        while self._listener.fileno() >= 0:
            with suppress(OSError):
                client = self._greeted(self._listener.accept()[0])
                server = socket.create_connection((HOST, self._behind))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


class PostgresFront(Front):
    """PostgreSQL's clients ask for TLS first (protocol 3.0, SSLRequest); plain ones are turned away."""

    def _greeted(self, client: socket.socket) -> socket.socket:
        if client.recv(8) != _SSL_REQUEST:
            client.close()
            raise OSError("no TLS")
        client.sendall(b"S")
        return super()._greeted(client)


_SSL_REQUEST = struct.pack("!ii", 8, 80_877_103)


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


@pytest.fixture
def secured(certificate: tuple[Path, Path]) -> Iterator[PostgresFront]:
    """A ledger's database whose server wants a password (SCRAM), behind TLS."""
    with PostgresServer() as server:
        upgrade(server.create_database("ledger"))
        with server.connect() as connection:
            connection.execute(f"CREATE ROLE celeriac SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
            connection.execute("SELECT pg_reload_conf()")
        rules = server.home / "data" / "pg_hba.conf"
        rules.write_text(f"host all celeriac {HOST}/32 scram-sha-256\n{rules.read_text()}")
        with server.connect() as connection:
            connection.execute("SELECT pg_reload_conf()")
        made = PostgresFront(server.port, certificate)
        yield made
        made.close()


def ledger_url(front: PostgresFront, ca: Path, password: str = PASSWORD) -> str:
    query = f"sslmode=verify-full&sslrootcert={ca}"
    return f"postgresql://celeriac:{password}@{HOST}:{front.port}/ledger?{query}"


def doctored(url: str) -> str:
    """What the doctor says, as a process that is given nothing else."""
    found = celery("doctor", env=environment("redis://127.0.0.1:1/0", url))
    assert PASSWORD not in found.stdout + found.stderr
    return found.stdout


def test_a_job_runs_with_a_ledger_behind_tls_and_a_password(
    secured: PostgresFront,
    certificate: tuple[Path, Path],
    redis_url: str,
    start_worker: Callable[..., Worker],
) -> None:
    url = ledger_url(secured, certificate[0])
    worker = start_worker(redis_url, url, concurrency=1).ready()
    app = build(
        Settings(broker_url=redis_url, database_url=url, task_modules=("tests.jobs",)), set_as_current=False
    )
    with closing(app.database), app.database.reading() as connection:
        assert connection.connection.driver_connection.pgconn.ssl_in_use
        assert connection.connection.driver_connection.pgconn.used_password
        id = app.send_task("tests.add", [1, 2]).id
        wait_until(lambda: job(id, app=app).state == "completed", within=20, saying="the job is done")
    assert PASSWORD not in worker.log
    assert "ok   database  version: PostgreSQL" in doctored(url)


def test_a_ledger_whose_certificate_nobody_vouches_for_is_refused(
    secured: PostgresFront, tmp_path: Path
) -> None:
    stranger, _ = certified(tmp_path)
    refused(ledger_url(secured, stranger), "certificate verify failed")


def test_a_wrong_password_is_refused(secured: PostgresFront, certificate: tuple[Path, Path]) -> None:
    wrong = f"{PASSWORD}-{PASSWORD}"
    refused(ledger_url(secured, certificate[0], wrong), "password authentication failed")


def test_a_ledger_behind_tls_is_not_spoken_to_without_it(secured: PostgresFront) -> None:
    refused(f"postgresql://celeriac:{PASSWORD}@{HOST}:{secured.port}/ledger?sslmode=disable", "")


def refused(url: str, reason: str) -> None:
    """``.delay()``, the doctor and a command say so in a sentence, and never with the password."""
    app = build(Settings(broker_url="redis://127.0.0.1:1/0", database_url=url), set_as_current=False)

    @app.task(name="tls.noop", shared=False)
    def noop() -> None: ...

    with closing(app.database), pytest.raises(EnqueueError) as raised:
        noop.delay()
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))
    said = next(line for line in doctored(url).splitlines() if line.startswith("fail database  ledger:"))
    assert "the ledger cannot be asked" in said
    assert reason in said
    found = celery("jobs", "list", env=environment("redis://127.0.0.1:1/0", url))
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith("error: the ledger's database cannot be reached")
    assert len(found.stderr.splitlines()) == 1
    assert PASSWORD not in found.stderr
