"""Whether the ledger is at the revision that this version wants, without Alembic: a worker starts sooner so.

Anything but yes is for ``migrate`` to judge, and to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import column, select, table
from sqlalchemy.exc import SQLAlchemyError

from celeriac.errors import LedgerUnavailable
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.schema_name import schema_of

#: Where a ledger's revision stands.
VERSION_TABLE = "background_version"

_FOLDER = Path(__file__).parent / "migrations" / "versions"
_POST = re.compile(r"^post\s*=\s*True", re.M)


def is_current(database: Database, folder: Path = _FOLDER) -> bool:
    """Whether the ledger is at the newest revision, or waits for nothing but post steps."""
    try:
        with database.reading() as connection:
            name = table(VERSION_TABLE, column("version_num"), schema=schema_of(connection))
            found = connection.execute(select(name.c.version_num)).scalars().all()
    except (SQLAlchemyError, LedgerUnavailable):  # it has no such table; or the one who judges says why not
        return False
    return len(found) == 1 and found[0] in _wanted(folder)


def _wanted(folder: Path) -> Iterator[str]:
    """The newest revision, and those behind which there are post steps alone."""
    for script in sorted(folder.glob("[0-9]*.py"), reverse=True):
        yield script.name.partition("_")[0]
        if not _POST.search(script.read_text(encoding="utf-8")):
            return
