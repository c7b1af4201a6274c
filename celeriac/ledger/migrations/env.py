"""Runs the migrations on the connection that ``celeriac.ledger.migrate`` hands over."""

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo

from celeriac.ledger.connection.schema_name import schema_of
from celeriac.ledger.revisions import note
from celeriac.ledger.schema.metadata import METADATA

connection = context.config.attributes["connection"]
revisions = context.config.attributes["revisions"]
version_table = context.config.attributes["version_table"]
sqlite = connection.dialect.name == "sqlite"


def _note(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
) -> None:
    revision = next(iter(step.destination_revision_ids), None)
    note(connection, revisions, revision, version_table=version_table)


context.configure(
    connection=connection,
    target_metadata=METADATA,
    version_table=version_table,
    version_table_schema=schema_of(connection),
    render_as_batch=sqlite,
    transaction_per_migration=not sqlite,
    on_version_apply=_note,
)
with context.begin_transaction():
    context.run_migrations()
