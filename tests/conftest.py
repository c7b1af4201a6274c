"""Servers, databases and workers for every test that asks for one. Nothing is started before it is asked for.

    redis_url             a database of the session's Valkey, empty
    database_url          the ledger's tables, empty; the test runs once on PostgreSQL and once on SQLite
    postgres_url, sqlite_url          the same, for one of them
    bare_database_url, …              the same without any table, for what migrates
    private_valkey, private_postgres  a server of the test's own: to be killed, frozen, filled up
    start_worker          starts real ``celery`` workers, which are gone after the test
    module_…              of the first and the last: one for a whole module, whose tests share a worker

With TEST_BY_DAY the ledgers on PostgreSQL are divided by days (`make test-by-day`).

TEST_REDIS_URL and TEST_DATABASE_URL name servers to use in place of the session's own; the first is flushed,
on the second databases are created and dropped.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    import psycopg

    from tests.servers import PostgresServer, ValkeyServer
    from tests.workers import Worker

pytest_plugins = ("tests.timeouts", "tests.leaks", "tests.forked", "tests.tiers")

#: Tests of a project of its own, which tests/contrib runs in processes of their own.
collect_ignore = ["django_project"]

_missing = pytest.StashKey[list[str]]()
_SESSION_DATABASES = 512  # of our own Valkey: one for each test of a session, before they are used again


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_missing] = []
    # How quickly examples are made says something of the machine, not of the test.
    hypothesis.settings.register_profile(
        "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("tests")
    config.addinivalue_line("markers", "slow: takes more than 20 seconds")
    config.addinivalue_line("markers", "chaos: a fault that takes too long for every run, see `make chaos`")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A server that could not be started fails the run, whatever became of the tests that wanted it."""
    if session.config.stash[_missing] and session.exitstatus in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for sentence in config.stash[_missing]:
        terminalreporter.section("missing server", red=True)
        terminalreporter.write_line(sentence)


@contextmanager
def _or_fail(config: pytest.Config) -> Iterator[None]:
    from tests.binaries import ServerMissing

    sentence = ""
    try:
        yield
    except ServerMissing as exc:
        sentence = str(exc)
    if sentence:  # outside of the handler, or pytest would show it twice
        config.stash[_missing].append(sentence)
        pytest.fail(sentence, pytrace=False)


@pytest.fixture(scope="session")
def valkey(pytestconfig: pytest.Config) -> Iterator[str]:
    """The URL of the session's Valkey, database 0. Not for a test that stops it: see ``private_valkey``."""
    if given := os.environ.get("TEST_REDIS_URL"):
        with _or_fail(pytestconfig):
            _require_redis(given)
        yield given
        return
    from tests.servers import ValkeyServer

    with ExitStack() as stack:
        with _or_fail(pytestconfig):
            server = stack.enter_context(ValkeyServer(databases=_SESSION_DATABASES))
        yield server.url()


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[str]:
    """The URL of the session's PostgreSQL, its maintenance database. See also ``private_postgres``."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        with _or_fail(pytestconfig):
            url = _require_postgres(given)
        yield url
        _close_connections()
        return
    from tests.servers import PostgresServer

    with ExitStack() as stack:
        with _or_fail(pytestconfig):
            server = stack.enter_context(PostgresServer())
        yield server.url()
        _close_connections()


def _close_connections() -> None:
    while _connections:
        _connections.popitem()[1].close()


@pytest.fixture
def private_valkey(pytestconfig: pytest.Config) -> Iterator[ValkeyServer]:
    """A Valkey of this test alone, which keeps nothing when it ends."""
    from tests.servers import ValkeyServer

    with ExitStack() as stack:
        with _or_fail(pytestconfig):
            server = stack.enter_context(ValkeyServer())
        yield server


@pytest.fixture
def private_postgres(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test alone; ``migrated`` makes a ledger on it."""
    from tests.servers import PostgresServer

    with ExitStack() as stack:
        with _or_fail(pytestconfig):
            server = stack.enter_context(PostgresServer())
        yield server


@pytest.fixture
def private_postgres_url(private_postgres: PostgresServer) -> str:
    """The URL of an empty ledger on ``private_postgres``."""
    return _migrated(private_postgres.create_database("ledger"))


@pytest.fixture(scope="session")
def _redis_databases(valkey: str) -> Iterator[int]:
    """Numbers of databases that no other process of this run is given."""
    import redis

    with closing(redis.Redis.from_url(valkey)) as client:
        count = int(client.config_get("databases")["databases"] or 16)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    step = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) if os.environ.get("TEST_REDIS_URL") else 1
    return itertools.cycle(range(worker % step, count, step))


@pytest.fixture
def redis_url(valkey: str, _redis_databases: Iterator[int]) -> Iterator[str]:
    """The URL of an empty Redis database."""
    with _empty_redis(valkey, _redis_databases) as url:
        yield url


@pytest.fixture(scope="module")
def module_redis_url(valkey: str, _redis_databases: Iterator[int]) -> Iterator[str]:
    """The URL of a Redis database of a module, empty for its first test."""
    with _empty_redis(valkey, _redis_databases) as url:
        yield url


@contextmanager
def _empty_redis(valkey: str, numbers: Iterator[int]) -> Iterator[str]:
    from urllib.parse import urlsplit

    import redis

    from tests import leaks

    url = urlsplit(valkey)._replace(path=f"/{next(numbers)}").geturl()
    with closing(redis.Redis.from_url(url)) as client:
        client.flushdb()
        yield url
        left = sorted(leaks.keys_without_an_end(client))
        client.flushdb()
    assert left == [], "keys that nobody would ever delete"


_numbers = itertools.count(1)


#: To the session's PostgreSQL, by its URL: to make a connection takes as long as to copy a small database.
_connections: dict[str, psycopg.Connection] = {}


@contextmanager
def _postgres_copy(server: str, template: str) -> Iterator[str]:
    from tests import leaks
    from tests.servers import connect, copy_database, database_url, remove_database

    name = f"celeriac_test_{os.getpid()}_{next(_numbers)}"
    connection = _connections.get(server) or _connections.setdefault(server, connect(server))
    copy_database(connection, name, template=template)
    yield database_url(server, name)
    left = leaks.left_open(connection, name)
    remove_database(connection, name)
    assert left == [], "transactions that were begun and not ended"


@pytest.fixture(scope="session")
def _postgres_template(postgres: str) -> Iterator[str]:
    from sqlalchemy import make_url

    with _postgres_copy(postgres, "template0") as url:
        _migrated(url)
        yield str(make_url(url).database)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sqlite3

    path = tmp_path_factory.mktemp("template") / "ledger.db"
    _migrated(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:  # so that the one file is all of it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def postgres_url(postgres: str, _postgres_template: str) -> Iterator[str]:
    """The URL of an empty ledger on PostgreSQL."""
    with _postgres_copy(postgres, _postgres_template) as url:
        yield url


@pytest.fixture(scope="module")
def module_postgres_url(postgres: str, _postgres_template: str) -> Iterator[str]:
    """The URL of a module's ledger on PostgreSQL, empty for its first test."""
    with _postgres_copy(postgres, _postgres_template) as url:
        yield url


@pytest.fixture
def bare_postgres_url(postgres: str) -> Iterator[str]:
    """The URL of a PostgreSQL database without tables."""
    with _postgres_copy(postgres, "template0") as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path, _sqlite_template: Path) -> str:
    """The URL of an empty ledger on SQLite."""
    return f"sqlite:///{shutil.copy(_sqlite_template, tmp_path / 'ledger.db')}"


@pytest.fixture(scope="module")
def module_sqlite_url(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> str:
    """The URL of a module's ledger on SQLite, empty for its first test."""
    return f"sqlite:///{shutil.copy(_sqlite_template, tmp_path_factory.mktemp('ledger') / 'ledger.db')}"


@pytest.fixture
def bare_sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'bare.db'}"


@pytest.fixture(params=["postgresql", "sqlite"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty ledger, on each database in turn."""
    return str(request.getfixturevalue(f"{_FIXTURE[request.param]}_url"))


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def module_database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a module's ledger, on each database in turn, empty for its first test."""
    return str(request.getfixturevalue(f"module_{_FIXTURE[request.param]}_url"))


@pytest.fixture(params=["postgresql", "sqlite"])
def bare_database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database without tables, on each in turn."""
    return str(request.getfixturevalue(f"bare_{_FIXTURE[request.param]}_url"))


_FIXTURE = {"postgresql": "postgres", "sqlite": "sqlite"}


@pytest.fixture
def start_worker() -> Iterator[Callable[..., Worker]]:
    """Starts a ``Worker`` with the arguments of that class; does not wait until it is ready."""
    from tests.workers import Worker

    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(Worker(*args, **options))


@pytest.fixture(scope="module")
def start_module_worker() -> Iterator[Callable[..., Worker]]:
    """As ``start_worker``; gone after the module, whose tests may share it: none asks for others' jobs."""
    from tests.workers import Worker

    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(Worker(*args, **options))


def _migrated(url: str) -> str:
    from celeriac.ledger.migrate import upgrade

    upgrade(url, by_day=bool(os.environ.get("TEST_BY_DAY")) and url.startswith("postgres"))
    return url


def _require_redis(url: str) -> None:
    import redis

    from tests.binaries import ServerMissing

    try:
        with closing(redis.Redis.from_url(url, socket_timeout=5)) as client:
            client.ping()
    except (redis.RedisError, ValueError) as exc:
        raise ServerMissing(f"TEST_REDIS_URL names a server that does not answer: {exc}") from None


def _require_postgres(url: str) -> str:
    import psycopg
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from tests.binaries import ServerMissing
    from tests.servers import connect

    try:
        found = make_url(url)
    except ArgumentError:
        raise ServerMissing("TEST_DATABASE_URL must be a URL: postgresql://user@host/postgres") from None
    if found.get_backend_name() not in ("postgresql", "postgres"):
        raise ServerMissing(f"TEST_DATABASE_URL must name a PostgreSQL server, found {found.drivername!r}")
    normal = found.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    try:
        connect(normal).close()
    except psycopg.OperationalError as exc:
        raise ServerMissing(f"TEST_DATABASE_URL names a server that does not answer: {exc}") from None
    return normal
