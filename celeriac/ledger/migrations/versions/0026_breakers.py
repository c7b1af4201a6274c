"""Circuit breakers of limits, and the attempts that they count."""

import sqlalchemy as sa
from alembic import op

from celeriac.ledger.schema import columns

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_LIMITS = "background_limits"
_NAME = sa.String(255)


def upgrade() -> None:
    op.add_column(_LIMITS, sa.Column("breaker", sa.JSON(), nullable=True))
    op.add_column(_LIMITS, sa.Column("breaker_set", sa.String(16), nullable=True))
    op.add_column(_LIMITS, sa.Column("breaker_set_by", _NAME, nullable=True))
    op.add_column(_LIMITS, sa.Column("breaker_state", sa.String(16), nullable=True))
    op.add_column(_LIMITS, sa.Column("breaker_since", columns.Instant(), nullable=True))
    op.add_column(_LIMITS, sa.Column("breaker_why", sa.Text(), nullable=True))
    op.create_table(
        "background_ended_attempts",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("second", columns.Instant(), primary_key=True),
        sa.Column("ended", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("background_ended_attempts")
    names = ("breaker_why", "breaker_since", "breaker_state", "breaker_set_by", "breaker_set", "breaker")
    for name in names:
        op.drop_column(_LIMITS, name)
