"""Ledgers of before revision 0011, and the statements of programs of before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from alembic import command
from sqlalchemy import event, make_url

from celeriac.ledger import online
from celeriac.ledger.connection.database import Database
from celeriac.ledger.former_names import FORMER, FORMER_VERSION_TABLE, LAST_FORMER, VERSION_TABLE
from celeriac.ledger.revisions import OURS


def former_ledger(url: str, *, revision: str = LAST_FORMER) -> str:
    """Make the tables as a program of ``revision`` made them; return ``url``."""
    with closing(Database(make_url(url), pool=2)) as database:
        one = database.transaction() if database.dialect == "sqlite" else online.connected(database)
        with one as connection:
            command.upgrade(OURS.config(connection, version_table=FORMER_VERSION_TABLE), revision)
    return url


@contextmanager
def speaking_as_before(database: Database) -> Iterator[Database]:
    """Within the block ``database`` knows the tables by their former names, as programs of before do."""

    def rename(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        for name, former in {**FORMER, VERSION_TABLE: FORMER_VERSION_TABLE}.items():
            statement = statement.replace(name, former)
        return statement, parameters

    event.listen(database.engine, "before_cursor_execute", rename, retval=True)
    try:
        yield database
    finally:
        event.remove(database.engine, "before_cursor_execute", rename)
