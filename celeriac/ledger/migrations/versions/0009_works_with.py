"""Whose program works with the ledger, recorded beside its revision: see ``celeriac.ledger.revisions``."""

import sqlalchemy as sa
from alembic import op

from celeriac.ledger.former_names import VERSION_TABLE, in_this_step

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(in_this_step(VERSION_TABLE), sa.Column("works_with", sa.String(32), nullable=True))


def downgrade() -> None:
    op.drop_column(in_this_step(VERSION_TABLE), "works_with")
