"""A worker's row has the version of the team's code."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_TABLE = "background_workers"


def upgrade() -> None:
    op.add_column(_TABLE, sa.Column("code_version", sa.String(64), nullable=True))  # no row is rewritten


def downgrade() -> None:
    op.drop_column(_TABLE, "code_version")
