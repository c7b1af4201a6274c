"""Orders: which lines go one by one, and what becomes of a job of them that failed."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("background_jobs", sa.Column("ordered", sa.Boolean(), nullable=True))
    op.add_column("background_limits", sa.Column("on_failure", sa.String(16), nullable=True))


def downgrade() -> None:
    op.drop_column("background_limits", "on_failure")
    op.drop_column("background_jobs", "ordered")
