"""Fair queues: whose a job is, and its turn."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_JOBS = "background_jobs"


def upgrade() -> None:
    op.add_column(_JOBS, sa.Column("fair_key", sa.String(255), nullable=True))
    op.add_column(_JOBS, sa.Column("turn", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column(_JOBS, "turn")
    op.drop_column(_JOBS, "fair_key")
