"""What operators do and see: actions, pauses, counts of what ended, tokens of the API, alerts; held jobs."""

import sqlalchemy as sa
from alembic import op

from celeriac.ledger.schema import columns

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_NAME = sa.String(255)


def upgrade() -> None:
    op.add_column("background_jobs", sa.Column("held", sa.String(263), nullable=True))
    _make_actions()
    op.create_table(
        "background_pauses",
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("since", columns.Instant(), nullable=False),
        sa.Column("who", _NAME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('queue', 'task')", name="pause_kind_is_known"),
    )
    op.create_table(
        "background_ended_counts",
        sa.Column("span", sa.Integer(), primary_key=True),
        sa.Column("began", columns.Instant(), primary_key=True),
        sa.Column("task", _NAME, primary_key=True),
        sa.Column("queue", _NAME, primary_key=True),
        sa.Column("outcome", sa.String(16), primary_key=True),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("ran", columns.Seconds(), nullable=False),
        sa.Column("longest", columns.Seconds(), nullable=False),
        sa.CheckConstraint("span IN (60, 3600)", name="count_span_is_known"),
    )
    op.create_table(
        "background_api_tokens",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created", columns.Instant(), nullable=False),
        sa.Column("created_by", _NAME, nullable=False),
        sa.Column("expires", columns.Instant(), nullable=False),
        sa.Column("last_used", columns.Instant(), nullable=True),
    )
    op.create_index("background_api_tokens_by_digest", "background_api_tokens", ["digest"], unique=True)
    op.create_table(
        "background_alerts",
        sa.Column("key", _NAME, primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("since", columns.Instant(), nullable=False),
        sa.Column("seen", columns.Instant(), nullable=False),
        sa.Column("told", columns.Instant(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
    )


def _make_actions() -> None:
    table = "background_actions"
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("began", columns.Instant(), nullable=False),
        sa.Column("who", _NAME, nullable=False),
        sa.Column("via", sa.String(16), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("parameters", sa.JSON(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("counted", sa.BigInteger(), nullable=True),
        sa.Column("request_key", _NAME, nullable=True),
        sa.Column("runner", sa.Uuid(), nullable=True),
        sa.Column("touched", columns.Instant(), nullable=False),
        sa.Column("position", sa.String(64), nullable=True),
        sa.Column("done", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("ended", columns.Instant(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("stopped_by", _NAME, nullable=True),
    )
    op.create_index("background_actions_listing", table, ["began", "id"])
    op.create_index("background_actions_by_person", table, ["who", "began", "id"])
    for name, column, rows, unique in (
        ("background_actions_by_job", "job_id", "job_id IS NOT NULL", False),
        ("background_actions_unfinished", "touched", "ended IS NULL", False),
        ("background_actions_request", "request_key", "request_key IS NOT NULL", True),
    ):
        where = sa.text(rows)
        op.create_index(name, table, [column], unique=unique, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    for name in ("alerts", "api_tokens", "ended_counts", "pauses", "actions"):
        op.drop_table(f"background_{name}")
    op.drop_column("background_jobs", "held")
