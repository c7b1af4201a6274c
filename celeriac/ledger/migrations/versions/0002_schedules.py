"""Schedules as they are fired: the table of 0001 is made anew, no version has written a row there."""

import sqlalchemy as sa
from alembic import op

from celeriac.ledger.former_names import in_this_step
from celeriac.ledger.schema import columns

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
breaks = True  # a program of 0001 does not work with it: there was none with schedules


def upgrade() -> None:
    op.drop_table(in_this_step("background_schedules"))
    op.create_table(
        in_this_step("background_schedules"),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("task", sa.String(length=255), nullable=False),
        sa.Column("args", sa.JSON(), nullable=False),
        sa.Column("kwargs", sa.JSON(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("kind", columns.Word(length=16), nullable=False),
        sa.Column("expression", sa.Text(), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("starts", columns.Instant(), nullable=True),
        sa.Column("ends", columns.Instant(), nullable=True),
        sa.Column("catch_up", columns.Word(length=16), nullable=False),
        sa.Column("catch_up_limit", sa.Integer(), nullable=False),
        sa.Column("overlap", columns.Word(length=16), nullable=False),
        sa.Column("jitter", sa.Double(), nullable=False),
        sa.Column("static", sa.Boolean(), nullable=False),
        sa.Column("created", columns.Instant(), nullable=False),
        sa.Column("changed", columns.Instant(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("retired", columns.Instant(), nullable=True),
        sa.Column("anchor", columns.Instant(), nullable=False),
        sa.Column("last_run", columns.Instant(), nullable=True),
        sa.Column("next_run", columns.Instant(), nullable=True),
        sa.Column("run_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_job_id", sa.Uuid(), nullable=True),
        sa.Column("last_skipped", columns.Instant(), nullable=True),
        sa.Column("skip_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('interval', 'cron', 'once')", name="schedule_kind_is_known"),
        sa.CheckConstraint("catch_up IN ('skip', 'once', 'all')", name="catch_up_is_known"),
        sa.CheckConstraint("catch_up_limit >= 1", name="at_least_one_caught_up"),
        sa.CheckConstraint("overlap IN ('allow', 'skip')", name="overlap_is_known"),
        sa.CheckConstraint("jitter >= 0", name="jitter_is_no_head_start"),
        sa.CheckConstraint("starts IS NULL OR ends IS NULL OR starts <= ends", name="starts_before_it_ends"),
        sa.CheckConstraint(
            "next_run IS NULL OR last_run IS NULL OR next_run > last_run", name="no_due_time_fires_again"
        ),
        sa.CheckConstraint(
            "next_run IS NULL OR (enabled AND retired IS NULL)", name="due_only_while_enabled_and_there"
        ),
        sa.CheckConstraint("(last_skipped IS NULL) = (skip_reason IS NULL)", name="a_skip_has_a_reason"),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index(
        in_this_step("background_schedules_due"),
        in_this_step("background_schedules"),
        ["next_run"],
        unique=False,
        postgresql_where=sa.text("next_run IS NOT NULL"),
        sqlite_where=sa.text("next_run IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table(in_this_step("background_schedules"))
    op.create_table(
        in_this_step("background_schedules"),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("task", sa.String(length=255), nullable=False),
        sa.Column("args", sa.JSON(), nullable=False),
        sa.Column("kwargs", sa.JSON(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("expression", sa.String(length=255), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("static", sa.Boolean(), nullable=False),
        sa.Column("catch_up", sa.String(length=16), nullable=False),
        sa.Column("overlap", sa.String(length=16), nullable=False),
        sa.Column("jitter", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("start", columns.Instant(), nullable=True),
        sa.Column("end", columns.Instant(), nullable=True),
        sa.Column("anchor", columns.Instant(), nullable=False),
        sa.Column("last_run", columns.Instant(), nullable=True),
        sa.Column("next_run", columns.Instant(), nullable=True),
        sa.Column("run_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_skip", sa.Text(), nullable=True),
        sa.Column("created", columns.Instant(), nullable=False),
        sa.Column("changed", columns.Instant(), nullable=False),
        sa.CheckConstraint("catch_up IN ('skip', 'once', 'all')", name="catch_up_is_known"),
        sa.CheckConstraint("kind IN ('interval', 'cron', 'once')", name="schedule_kind_is_known"),
        sa.CheckConstraint("overlap IN ('allow', 'skip')", name="overlap_is_known"),
        sa.PrimaryKeyConstraint("name"),
    )
