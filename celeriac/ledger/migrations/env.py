"""Runs the migrations on the connection that ``celeriac.ledger.migrate`` hands over."""

from alembic import context

from celeriac.ledger.schema.models import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=Base.metadata, render_as_batch=connection.dialect.name == "sqlite"
)
with context.begin_transaction():
    context.run_migrations()
