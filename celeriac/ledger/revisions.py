"""The ledger's revisions, in their order, and which versions of the program work with which of them.

A migration is one of two steps of a deploy. Most are *pre* steps: they only add, so that the program of
before goes on working, and they are made before the new version is rolled out. What takes something away says
``post = True``: it is made when the last process of the old version has gone. With each revision the oldest
one is recorded whose program works with it (``works_with``), in a column of Alembic's table: only so can an
older program know of a revision that is not among its scripts.

That table is called ``background_version``, so that the application may use Alembic in the same database.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, column, inspect, select, table, text, update

from celeriac.errors import LedgerTooNew, MigrationNeeded
from celeriac.ledger.connection.schema_name import schema_of
from celeriac.ledger.former_names import FORMER_VERSION_TABLE, VERSION_TABLE, is_former

_HERE = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class RevisionState:
    """The revision of a database.

    Attributes:
        revision: None before the first migration.
        works_with: the oldest revision whose program works with it; None when nobody recorded it.
        former: whether its tables have the names of before revision 0011.
    """

    revision: str | None
    works_with: str | None
    former: bool = False

    @property
    def version_table(self) -> str:
        return FORMER_VERSION_TABLE if self.former else VERSION_TABLE


@dataclass(frozen=True)
class Revisions:
    """The migrations below some folders.

    Attributes:
        folders: those of this version, and what a test adds to them.
    """

    folders: tuple[Path, ...] = (_HERE / "versions",)

    def config(
        self,
        connection: Connection | None = None,
        *,
        version_table: str = VERSION_TABLE,
        renames: bool = False,
    ) -> Config:
        """Alembic's configuration for ``connection``; ``renames``: whether 0011 finds former names there."""
        config = Config()
        config.set_main_option("script_location", str(_HERE))
        for option in ("path_separator", "version_path_separator"):  # Alembic before 1.16 knows the second
            config.set_main_option(option, "os")
        config.set_main_option("version_locations", os.pathsep.join(map(str, self.folders)))
        config.attributes["connection"] = connection
        config.attributes["revisions"] = self
        config.attributes["version_table"] = version_table
        config.attributes["renames"] = renames
        return config

    @cached_property
    def _scripts(self) -> Sequence[Script]:
        """The oldest first."""
        found = ScriptDirectory.from_config(self.config()).walk_revisions()
        return tuple(reversed(list(found)))

    @cached_property
    def known(self) -> tuple[str, ...]:
        """All of them, the oldest first."""
        return tuple(script.revision for script in self._scripts)

    @property
    def head(self) -> str:
        return self.known[-1]

    @cached_property
    def wanted(self) -> str:
        """What this version cannot do without: the newest before the post steps that may be left."""
        return self.wanted_before(self.head)

    def wanted_before(self, revision: str) -> str:
        """``revision``, or the newest before it that is no post step."""
        number = self.known.index(revision)
        while number and self.is_post(self.known[number]):
            number -= 1
        return self.known[number]

    def is_before(self, revision: str | None, other: str) -> bool:
        """Whether ``revision`` comes before ``other``; None, no revision, comes before all."""
        return revision is None or self.known.index(revision) < self.known.index(other)

    def is_post(self, revision: str) -> bool:
        return bool(getattr(self._script(revision).module, "post", False))

    def works_with(self, revision: str) -> str:
        """The oldest revision whose program works with ``revision``."""
        oldest = self.known[0]
        for known in self.known:
            if self.is_post(known):
                oldest = self.wanted_before(known)
            elif getattr(self._script(known).module, "breaks", False):
                oldest = known
            if known == revision:
                break
        return oldest

    def require(self, found: RevisionState) -> str | None:
        """The revision of a ledger that is newer than this version and works with it; None for one of ours.

        Raises:
            MigrationNeeded: the ledger is older than this version wants.
            LedgerTooNew: a newer version made it so that this one does not work with it.
        """
        if found.revision in self.known:
            if self.is_before(found.revision, self.wanted):
                raise MigrationNeeded(found.revision, self.wanted)
            return None
        if found.revision is None:
            raise MigrationNeeded(None, self.wanted)
        if (
            found.works_with not in self.known
        ):  # made for programs newer than this one, or before it was recorded
            raise LedgerTooNew(found.revision, self.wanted)
        return found.revision

    def _script(self, revision: str) -> Script:
        return self._scripts[self.known.index(revision)]


#: Those of this version.
OURS = Revisions()


def revision_state(connection: Connection) -> RevisionState:
    """The revision of the database of ``connection``."""
    former = is_former(connection)
    name = FORMER_VERSION_TABLE if former else VERSION_TABLE
    schema = schema_of(connection)
    if not (former or inspect(connection).has_table(name, schema)):
        return RevisionState(None, None)
    row = (
        connection.execute(select(text("*")).select_from(table(name, schema=schema))).mappings().one_or_none()
    )
    if row is None:
        return RevisionState(None, None)
    return RevisionState(row["version_num"], row.get("works_with"), former=former)


def note(connection: Connection, revisions: Revisions, revision: str | None, *, version_table: str) -> None:
    """Record beside ``revision`` whose program works with it, where there is a column for it."""
    schema = schema_of(connection)
    known = inspect(connection).get_columns(version_table, schema)
    columns = {found["name"] for found in known}
    if revision is not None and "works_with" in columns:
        oldest = revisions.works_with(revision)
        connection.execute(
            update(table(version_table, column("works_with"), schema=schema)).values(works_with=oldest)
        )
