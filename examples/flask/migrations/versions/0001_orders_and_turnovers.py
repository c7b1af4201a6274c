"""Orders and turnovers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("item", sa.String(80), nullable=False),
        sa.Column("amount", sa.Integer, nullable=False),
        sa.Column("placed", sa.DateTime, nullable=False),
        sa.Column("receipt", sa.String(80)),
    )
    op.create_table(
        "turnovers",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("amount", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("turnovers")
    op.drop_table("orders")
