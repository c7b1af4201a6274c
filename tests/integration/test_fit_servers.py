"""What a connection relies on is set, whatever its role says; a server that cannot serve is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, make_url, text

from celeriac.errors import LedgerUnfit
from celeriac.ledger import migrate
from celeriac.ledger.connection import clock, postgresql_session
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.postgresql_session import ServerFacts, why_unfit
from celeriac.ledger.writes.acceptance import accept, accept_all
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.unique.taking import KeyRules
from celeriac.operate import doctor
from celeriac.operate.doctor.finding import Level
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.new_jobs import new_job
from tests.servers import PgBouncerServer, PostgresServer, create_database, drop_database

FIT = {
    "standby": False,
    "encoding": "UTF8",
    "read_only": False,
    "isolation": "read committed",
    "pooled": False,
}

#: What a role or database may have been given by others.
ODD = {
    "client_encoding": "LATIN1",
    "datestyle": "'SQL, DMY'",
    "default_transaction_isolation": "'serializable'",
    "statement_timeout": "900",
    "lock_timeout": "1000",
}

SHOWN = ("client_encoding", "datestyle", "transaction_isolation", "statement_timeout", "lock_timeout")


@pytest.fixture
def odd_url(postgres: str, _postgres_template: str) -> Iterator[str]:
    """A ledger in a database whose defaults are others than those that are relied on."""
    url = create_database(postgres, "celeriac_odd", template=_postgres_template)
    with closing(Database(make_url(postgres))) as database, database.statement() as connection:
        for name, value in ODD.items():
            connection.execute(text(f"ALTER DATABASE celeriac_odd SET {name} = {value}"))
    yield url
    drop_database(postgres, "celeriac_odd")


def shown(database: Database) -> dict[str, str]:
    with database.transaction() as connection:
        return {name: str(connection.execute(text(f"SHOW {name}")).scalar()) for name in SHOWN}


def test_a_connection_is_set_as_is_relied_on(odd_url: str) -> None:
    with closing(Database(make_url(odd_url), longest=20)) as database:
        assert shown(database) == {
            "client_encoding": "UTF8",
            "datestyle": "ISO, DMY",
            "transaction_isolation": "read committed",
            "statement_timeout": "20s",
            "lock_timeout": "5s",
        }
        assert accept(database, new_job(headers={"price": "in €"}), within=5)
        with database.statement() as connection:
            assert clock.clock(connection).year > 2000
            isolation = connection.execute(text("SHOW transaction_isolation")).scalar()
        assert isolation == "read committed", "of a single statement, too"


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def test_a_transaction_through_a_pooler_says_what_it_relies_on(own_postgres: PostgresServer) -> None:
    """Each time: the session is another's as soon as it ends."""
    url = own_postgres.create_database("pooled")
    migrate.upgrade(url)
    with own_postgres.connect("pooled") as connection:
        for name in ("datestyle", "statement_timeout", "lock_timeout"):
            connection.execute(f"ALTER DATABASE pooled SET {name} = {ODD[name]}")
    with PgBouncerServer(own_postgres, connections=1) as bouncer:
        for prepared in (False, True):
            url = bouncer.url("pooled")
            with closing(Database(make_url(url), prepared=prepared, longest=20)) as database:
                for _ in range(8):  # psycopg prepares what it sees for the sixth time
                    found = shown(database)
                assert found == {
                    "client_encoding": "UTF8",
                    "datestyle": "ISO, DMY",
                    "transaction_isolation": "read committed",
                    "statement_timeout": "20s",
                    "lock_timeout": "5s",
                }
                assert accept_all(database, [new_job(), new_job()], within=5, settle=nothing, rules=NO_KEYS)
        session = Database(make_url(bouncer.url("pooled")), prepared=False)
        with closing(session), session.statement() as connection:  # which has served transactions before
            assert connection.execute(text("SHOW statement_timeout")).scalar() == "900ms"
        with own_postgres.connect("pooled") as connection:
            connection.execute("ALTER DATABASE pooled SET default_transaction_isolation = 'serializable'")
        bouncer.restart()
        database = Database(make_url(bouncer.url("pooled")), prepared=False)
        with closing(database), pytest.raises(LedgerUnfit, match=r"behind the pooler .* serializable"):
            accept(database, new_job(), within=5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"encoding": "SQL_ASCII"}, "its encoding is SQL_ASCII, wanted UTF8"),
        ({"standby": True}, "it is a standby"),
        ({"read_only": True}, "it is read-only"),
        ({"pooled": True, "isolation": "repeatable read"}, "repeatable read, wanted read committed"),
        ({"isolation": "repeatable read"}, None),  # which is set then
        ({"pooled": True}, None),
    ],
)
def test_a_server_that_cannot_serve_is_told_why(change: dict[str, Any], sentence: str | None) -> None:
    told = why_unfit(ServerFacts(**(FIT | change)))
    assert (told is None) if sentence is None else (sentence in str(told))


SERVERS = {
    "LATIN1": "CREATE DATABASE {} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    "SQL_ASCII": "CREATE DATABASE {} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    "read-only": "CREATE DATABASE {}; ALTER DATABASE {} SET default_transaction_read_only = on",
}


@pytest.mark.parametrize("kind", SERVERS)
def test_it_is_named_by_every_way_in(own_postgres: PostgresServer, tmp_path: Path, kind: str) -> None:
    name = f"of_{kind.lower().replace('-', '_')}"
    with own_postgres.connect() as connection:
        for statement in SERVERS[kind].split("; "):
            connection.execute(statement.format(name))
    url = own_postgres.url(name)
    with pytest.raises(LedgerUnfit, match=kind):
        migrate.upgrade(url)
    app = build(
        Settings(broker_url="redis://127.0.0.1:1/0", database_url=url, data_dir=tmp_path),
        set_as_current=False,
    )
    with closing(app.database):
        with pytest.raises(LedgerUnfit, match=kind):
            accept(app.database, new_job(), within=2)
        with pytest.raises(LedgerUnfit, match=kind):
            accept_all(app.database, [new_job(), new_job()], within=2, settle=nothing, rules=NO_KEYS)
        found = doctor.examine(app)
    assert any(one.level is Level.FAIL and kind in one.sentence for one in found)


def test_one_that_becomes_read_only_later_is_named(postgres_url: str) -> None:
    with closing(Database(make_url(postgres_url), pool=1)) as database:
        with database.statement() as connection:
            connection.execute(text("SET default_transaction_read_only = on"))
        with pytest.raises(LedgerUnfit, match="it takes no writes now"):
            accept(database, new_job(), within=5)
        with pytest.raises(LedgerUnfit, match="it takes no writes now"):
            accept_all(database, [new_job(), new_job()], within=5, settle=nothing, rules=NO_KEYS)


def test_tables_that_are_not_there_are_named(bare_database_url: str) -> None:
    database = Database(make_url(bare_database_url))
    with closing(database), pytest.raises(LedgerUnfit, match="db upgrade"):
        accept(database, new_job(), within=5)


def test_bounds_are_what_postgresql_reads() -> None:
    assert postgresql_session.begin_texts(7.2) == [
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        "SET LOCAL statement_timeout = 7200",
        "SET LOCAL lock_timeout = 5000",
    ]
    assert postgresql_session.time_limits(None) == {"statement_timeout": "0", "lock_timeout": "0"}


#: No job here is unique.
NO_KEYS = KeyRules(patience=1.0, refuses=True, compose=lambda *_: pytest.fail("no job is unique"))


def nothing(connection: Connection, jobs: Sequence[NewJob]) -> list[NewJob]:
    """What becomes of jobs whose rows exist: there are none."""
    assert not jobs
    return []
