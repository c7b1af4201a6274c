"""A web framework's own connection to the ledger's database, and the transaction that it is in.

An app has an integration where its project installs one (``celeriac.contrib.django``). What enqueues,
completes or waits asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

    from celeriac.ledger.connection.database import Database

T = TypeVar("T")

#: Option of an engine whose connections are the framework's own.
JOINED = "celeriac_joined"

#: Seconds that a statement of an operator's command or of a producer may take; a worker's may take less.
_LONGEST_STATEMENT = 300.0


class Framework(Protocol):
    """The integration of a web framework, for one app."""

    def ledger_url(self, given: Mapping[str, Any]) -> URL | None:
        """Where the ledger is, in a database of the framework's; None: the app's settings say it.

        Args:
            given: the fields of ``Settings`` that the project has set.

        Raises:
            SettingsError: the ledger cannot live in that database.
        """

    def database(self, url: URL, **options: Any) -> Database:
        """The ledger's database, as ``Database`` makes it; by the framework's connection where it must."""

    def writer(self) -> Callable[[Sequence[Any]], Any] | None:
        """What writes rows in the transaction that the caller is in; None: in none of the ledger's."""

    def connection(self) -> Connection | None:
        """The connection of that transaction; None: the caller is in none."""

    def uncommitted(self, jobs: Sequence[UUID]) -> list[UUID]:
        """Those of ``jobs`` that no worker can see before the caller's transaction is committed."""

    async def in_thread(self, call: Callable[[], T]) -> T:
        """What ``call`` returns, in the thread that has the framework's connections."""

    @property
    def has_ledger(self) -> bool:
        """Whether the ledger is in a database of the framework's."""

    @property
    def tests(self) -> bool:
        """Whether the ledger's database is one that the framework has made for tests."""


def is_joined(database: Database) -> bool:
    """Whether statements go through the framework's own connection now, and not to the driver."""
    return bool(database.engine.get_execution_options().get(JOINED))


def make_database(framework: Framework | None, options: Mapping[str, Any]) -> Database:
    """The ledger's database, made with ``options`` of ``Database``; nothing is connected yet."""
    if framework is not None:
        return framework.database(**options, longest=_LONGEST_STATEMENT)
    from celeriac.ledger.connection.database import Database  # with the ORM's engine, for who needs it

    return Database(**options, longest=_LONGEST_STATEMENT)
