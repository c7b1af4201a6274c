"""Which tasks the workers know, by name: a worker leaves a job of an unknown task to one that knows it."""

import sqlalchemy as sa
from alembic import op

from celeriac.ledger.former_names import in_this_step

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        in_this_step("background_worker_tasks"),
        sa.Column("tasks", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
    )


def downgrade() -> None:
    op.drop_table(in_this_step("background_worker_tasks"))
