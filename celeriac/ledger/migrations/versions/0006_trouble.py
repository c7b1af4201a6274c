"""A worker that lives and cannot record what its jobs came to says so, where everybody can read it."""

import sqlalchemy as sa
from alembic import op

from celeriac.ledger.former_names import in_this_step

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(in_this_step("background_workers"), sa.Column("trouble", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column(in_this_step("background_workers"), "trouble")
