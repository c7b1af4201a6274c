"""Flow control: limits, the keys of permits, lines of waiting jobs, and what a job takes."""

import sqlalchemy as sa
from alembic import op

from celeriac.ledger.schema import columns

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_JOBS = "background_jobs"
_NAME = sa.String(255)
_NUMBERS = (1, 2, 3)


def upgrade() -> None:
    op.add_column(_JOBS, sa.Column("line", sa.Uuid(), nullable=True))
    for number in _NUMBERS:
        op.add_column(_JOBS, sa.Column(f"permit_{number}", _NAME, nullable=True))
        op.add_column(_JOBS, sa.Column(f"weight_{number}", sa.Integer(), nullable=True))
    op.create_table(
        "background_limits",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        sa.Column("rate", sa.String(32), nullable=True),
        sa.Column("burst", sa.Integer(), nullable=True),
        sa.Column("declared", columns.Instant(), nullable=False),
        sa.Column("set_concurrency", sa.Integer(), nullable=True),
        sa.Column("set_rate", sa.String(32), nullable=True),
        sa.Column("set_by", _NAME, nullable=True),
        sa.Column("paused", columns.Instant(), nullable=True),
        sa.Column("paused_by", _NAME, nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("looker", sa.Uuid(), nullable=True),
        sa.Column("looks_until", columns.Instant(), nullable=True),
    )
    op.create_table(
        "background_permit_keys",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("next_start", columns.Instant(), nullable=True),
        sa.Column("rests_until", columns.Instant(), nullable=True),
        sa.Column("touched", columns.Instant(), nullable=False),
    )
    op.create_table(
        "background_lines",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("permit_1", _NAME, nullable=False),
        sa.Column("permit_2", _NAME, nullable=True),
        sa.Column("permit_3", _NAME, nullable=True),
        sa.Column("due", columns.Instant(), nullable=True),
        sa.Column("blocked_on", _NAME, nullable=True),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("touched", columns.Instant(), nullable=False),
    )
    for name, indexed, rows in (
        ("background_lines_due", ["due"], "due IS NOT NULL"),
        ("background_lines_blocked", ["blocked_on", "turn"], "blocked_on IS NOT NULL"),
    ):
        where = sa.text(rows)
        op.create_index(name, "background_lines", indexed, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    for name in ("lines", "permit_keys", "limits"):
        op.drop_table(f"background_{name}")
    for number in _NUMBERS:
        op.drop_column(_JOBS, f"weight_{number}")
        op.drop_column(_JOBS, f"permit_{number}")
    op.drop_column(_JOBS, "line")
