"""Due times that schedules passed over, and why: until now a schedule kept the last one alone."""

import sqlalchemy as sa
from alembic import op

from celeriac.ledger.schema import columns

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "background_schedule_skips",
        sa.Column("schedule", sa.String(255), primary_key=True),
        sa.Column("last", columns.Instant(), primary_key=True),
        sa.Column("first", columns.Instant(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("background_schedule_skips")
