"""For an application with Alembic in the ledger's database: leave the ledger's tables to the ledger."""

from __future__ import annotations

from typing import Any

from celeriac.ledger.days.keys import HELD_KEYS
from celeriac.ledger.former_names import VERSION_TABLE
from celeriac.ledger.partitions.layout import is_partition
from celeriac.ledger.schema.metadata import METADATA

__all__ = ["include_object"]

_TABLES = frozenset({*METADATA.tables, VERSION_TABLE, HELD_KEYS})


def include_object(object: Any, name: str | None, type_: str, reflected: bool, compare_to: Any) -> bool:
    """Whether Alembic's ``--autogenerate`` looks at an object: at everything but the ledger's tables.

    Without it a migration would drop them, because the application's metadata does not have them.

        context.configure(connection=connection, target_metadata=metadata, include_object=include_object)

    With Flask-Migrate: ``Migrate(app, db, include_object=include_object)``.

    >>> include_object(None, "background_jobs", "table", True, None)
    False
    >>> include_object(None, "orders", "table", True, None)
    True
    """
    foreign = type_ == "table" and reflected and compare_to is None
    return not (foreign and name is not None and (name in _TABLES or is_partition(name)))
