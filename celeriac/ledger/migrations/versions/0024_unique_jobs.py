"""Unique jobs: their keys, the keys that are held for a time, and the jobs that follow others."""

import sqlalchemy as sa
from alembic import op

from celeriac.ledger.schema import columns

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_JOBS = "background_jobs"
_NAME = sa.String(255)


def upgrade() -> None:
    op.add_column(_JOBS, sa.Column("unique_key", _NAME, nullable=True))
    op.add_column(_JOBS, sa.Column("unique_while", sa.String(8), nullable=True))
    op.add_column(_JOBS, sa.Column("follows", sa.Uuid(), nullable=True))
    op.create_table(
        "background_unique_keys",
        sa.Column("key", _NAME, primary_key=True),
        sa.Column("job", sa.Uuid(), nullable=False),
        sa.Column("until", columns.Instant(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("background_unique_keys")
    for name in ("follows", "unique_while", "unique_key"):
        op.drop_column(_JOBS, name)
