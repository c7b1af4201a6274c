"""Which version of the code wrote a limit."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("background_limits", sa.Column("declared_by", sa.String(64), nullable=True))


def downgrade() -> None:
    op.drop_column("background_limits", "declared_by")
