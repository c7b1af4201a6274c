"""The private Valkey: a real one, as the stack runs it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from celeriac.errors import EmbeddedServerError
from celeriac.settings.platform import EmbeddedAddress
from celeriac.stack import embedded_valkey, services
from celeriac.stack.embedded_valkey import PortHolder
from celeriac.stack.service import Service
from celeriac.stack.stop_signals import StopSignals
from tests.processes import living
from tests.servers import ValkeyServer
from tests.support import wait_until
from tests.workers import ROOT


@contextmanager
def running(data_dir: Path) -> Iterator[Service]:
    """The private Valkey of ``data_dir``, until the end of the block."""
    service = Service(services.valkey(data_dir), write_line=lambda *_: None)
    try:
        service.start()
        assert service.await_health(StopSignals())
        yield service
    finally:
        service.stop(StopSignals())


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[..., redis.Redis]]:
    """Makes clients of the Valkey of ``tmp_path``, which ask once."""
    with ExitStack() as stack:

        def make(password: str | None = None) -> redis.Redis:
            port, never = EmbeddedAddress.at(tmp_path).port, Retry(NoBackoff(), 0)
            return stack.enter_context(closing(redis.Redis(port=port, password=password, retry=never)))

        yield make


def test_it_answers_to_its_password_alone(tmp_path: Path, client: Callable[..., redis.Redis]) -> None:
    with running(tmp_path):
        assert client(EmbeddedAddress.at(tmp_path).password).ping()
        with pytest.raises(redis.AuthenticationError):
            client().ping()
        with pytest.raises(redis.AuthenticationError):
            client("guess").ping()


def test_it_listens_on_the_loopback_interface_alone(
    tmp_path: Path, client: Callable[..., redis.Redis]
) -> None:
    with running(tmp_path):
        told = client(EmbeddedAddress.at(tmp_path).password).config_get("*")
    assert told["bind"] == "127.0.0.1"
    assert (told["appendonly"], told["appendfsync"], told["save"]) == ("yes", "everysec", "")
    assert told["maxmemory-policy"] == "noeviction"


def test_nobody_sees_the_password_or_the_data(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        address = EmbeddedAddress.at(tmp_path)
        assert address.password not in " ".join(service.spec.argv)
        seen = subprocess.check_output(["ps", "-ww", "-o", "args=", "-p", str(service.pid)], text=True)
        assert "valkey-server" in seen or "redis-server" in seen
        assert address.password not in seen
    assert stat.S_IMODE((tmp_path / "valkey").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "valkey" / "valkey.conf").stat().st_mode) == 0o600


def test_its_data_survives_a_restart(tmp_path: Path, client: Callable[..., redis.Redis]) -> None:
    with running(tmp_path) as first:
        client(EmbeddedAddress.at(tmp_path).password).lpush("normal", "a message")
        pid = first.pid
    with running(tmp_path) as second:
        assert second.pid != pid
        assert client(EmbeddedAddress.at(tmp_path).password).lrange("normal", 0, -1) == [b"a message"]


def test_stop_waits_for_its_end(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        address, pid = EmbeddedAddress.at(tmp_path), service.pid
        assert embedded_valkey.port_holder(address, tmp_path) is PortHolder.OURS
        service.stop(StopSignals())
        assert embedded_valkey.port_holder(address, tmp_path) is PortHolder.NOBODY
        assert not living([pid or 0])


def test_a_second_one_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    with running(tmp_path), pytest.raises(EmbeddedServerError, match="already runs"):
        embedded_valkey.claim_address(tmp_path, patience=0.1)


def test_one_that_is_ending_is_waited_for(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        assert service.pid is not None
        os.kill(service.pid, signal.SIGTERM)
        address = embedded_valkey.claim_address(tmp_path, patience=10)
    assert address.port == EmbeddedAddress.at(tmp_path).port


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_strangers_port_is_left_to_it_with_the_password_it_heard(tmp_path: Path, greeting: bytes) -> None:
    before = EmbeddedAddress.at(tmp_path)
    with socket.create_server(("127.0.0.1", before.port)) as stranger:
        stranger.settimeout(5)
        after = embedded_valkey.claim_address(tmp_path)
    assert after.port != before.port
    assert after.password != before.password
    assert EmbeddedAddress.at(tmp_path).port == after.port


def test_another_redis_on_the_port_is_a_stranger_even_if_it_takes_any_password(
    tmp_path: Path, private_valkey: ValkeyServer
) -> None:
    EmbeddedAddress(private_valkey.port, "secret").write(EmbeddedAddress.path(tmp_path))
    assert embedded_valkey.claim_address(tmp_path).port != private_valkey.port


def test_the_valkey_of_another_directory_is_a_stranger(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    with running(other):
        EmbeddedAddress.at(other).write(EmbeddedAddress.path(mine))  # a copied directory
        assert embedded_valkey.claim_address(mine).port != EmbeddedAddress.at(other).port


_PARENT = """
import sys
from pathlib import Path
from celeriac.stack import services
from celeriac.stack.stop_signals import StopSignals
from celeriac.stack.service import Service

service = Service(services.valkey(Path(sys.argv[1])), write_line=lambda *_: None)
service.start()
assert service.await_health(StopSignals())
print(service.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_it_dies_with_its_parent(tmp_path: Path, client: Callable[..., redis.Redis]) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with parent:
        pid = int(parent.stdout.readline())
        client(EmbeddedAddress.at(tmp_path).password).lpush("normal", "a message")
        parent.kill()
    wait_until(lambda: not living([pid]), within=5, saying="the server has ended after its parent")
    with running(tmp_path):  # and it wrote what it had
        assert client(EmbeddedAddress.at(tmp_path).password).llen("normal") == 1
