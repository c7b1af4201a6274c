"""A job keeps the name of the worker that claimed it last, also when it has ended."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TABLE = "background_jobs"


def upgrade() -> None:
    op.add_column(_TABLE, sa.Column("last_worker_id", sa.Uuid(), nullable=True))  # no row is rewritten


def downgrade() -> None:
    op.drop_column(_TABLE, "last_worker_id")
