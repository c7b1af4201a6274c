"""All tables are called ``background_…``, beside those of the application.

A new ledger has these names from 0001 on. ``celeriac.ledger.migrate`` moves the version table, in the same
transaction. A later revision that changes a column of one of these tables to another type, or drops one, must
take the views away first: ``former_names.drop_views``.
"""

from alembic import context, op

from celeriac.ledger import former_names

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if context.config.attributes["renames"]:
        former_names.rename_tables(op.get_bind())


def downgrade() -> None:
    former_names.rename_tables_back(op.get_bind())
