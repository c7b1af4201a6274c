"""Muted groups of failures; and counts of how long jobs waited and ran."""

import sqlalchemy as sa
from alembic import op

from celeriac.ledger.schema import columns

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_COUNTS = "background_ended_counts"
_SPREADS = [f"{what}_{number}" for what in ("wait", "run") for number in range(13)]


def upgrade() -> None:
    op.create_table(
        "background_mutes",
        sa.Column("key", sa.String(8), primary_key=True),
        sa.Column("since", columns.Instant(), nullable=False),
        sa.Column("until", columns.Instant(), nullable=True),
        sa.Column("who", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
    )
    for name in _SPREADS:  # no row is rewritten
        op.add_column(_COUNTS, sa.Column(name, sa.Integer(), nullable=True))


def downgrade() -> None:
    for name in _SPREADS:
        op.drop_column(_COUNTS, name)
    op.drop_table("background_mutes")
