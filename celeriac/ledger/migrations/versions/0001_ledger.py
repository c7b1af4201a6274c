"""The ledger: jobs, failed attempts, workers, schedules."""

import sqlalchemy as sa
from alembic import op

from celeriac.ledger.former_names import in_this_step
from celeriac.ledger.schema import columns

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:  # long: it makes all tables of the ledger
    op.create_table(
        "background_jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_type", sa.String(length=255), nullable=False),
        sa.Column("queue", sa.String(length=255), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("content_type", sa.String(length=255), nullable=False),
        sa.Column("content_encoding", sa.String(length=255), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=True),
        sa.Column("queued", columns.Instant(), nullable=False),
        sa.Column("max_tries", sa.Integer(), nullable=False),
        sa.Column("timeout", sa.Double(), nullable=True),
        sa.Column("expires", columns.Instant(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("schedule", sa.String(length=255), nullable=True),
        sa.Column("root_id", sa.Uuid(), nullable=True),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("group_id", sa.Uuid(), nullable=True),
        sa.Column("state", columns.Word(length=16), nullable=False),
        sa.Column("next_attempt_after", columns.Instant(), nullable=False),
        sa.Column("dispatched", columns.Instant(), nullable=True),
        sa.Column("dispatch_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("try_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries_before", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("started", columns.Instant(), nullable=True),
        sa.Column("finished", columns.Instant(), nullable=True),
        sa.Column("cancel_requested", sa.String(length=4), nullable=True),
        sa.Column("unknown_since", columns.Instant(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("failure_info", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(finished IS NOT NULL) = (state IN ('cancelled', 'completed', 'failed'))",
            name="finished_iff_terminal",
        ),
        sa.CheckConstraint("(worker_id IS NOT NULL) = (state = 'running')", name="held_iff_running"),
        sa.CheckConstraint(
            "dispatched IS NOT NULL OR state IN ('error', 'pending')", name="undispatched_only_while_waiting"
        ),
        sa.CheckConstraint("cancel_requested IN ('soft', 'hard')", name="cancel_mode_is_known"),
        sa.CheckConstraint(
            "state IN ('cancelled', 'completed', 'error', 'failed', 'pending', 'running')",
            name="state_is_known",
        ),
        sa.CheckConstraint("max_tries >= 1", name="at_least_one_try"),
        sa.CheckConstraint("priority BETWEEN 0 AND 100", name="priority_within_0_and_100"),
        sa.CheckConstraint("try_count BETWEEN 0 AND max_tries", name="tries_within_limit"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("background_jobs_by_state", "background_jobs", ["state", "queued"], unique=False)
    op.create_index(
        "background_jobs_held",
        "background_jobs",
        ["worker_id"],
        unique=False,
        postgresql_where=sa.text("worker_id IS NOT NULL"),
        sqlite_where=sa.text("worker_id IS NOT NULL"),
    )
    op.create_index(
        "background_jobs_undispatched",
        "background_jobs",
        ["priority", "next_attempt_after"],
        unique=False,
        postgresql_where=sa.text("dispatched IS NULL"),
        sqlite_where=sa.text("dispatched IS NULL"),
    )
    op.create_index(
        "background_jobs_sent",
        "background_jobs",
        ["queue", "dispatched"],
        unique=False,
        postgresql_where=sa.text("state IN ('error', 'pending')"),
        sqlite_where=sa.text("state IN ('error', 'pending')"),
    )
    op.create_index(
        "background_jobs_group",
        "background_jobs",
        ["group_id"],
        unique=False,
        postgresql_where=sa.text("group_id IS NOT NULL"),
        sqlite_where=sa.text("group_id IS NOT NULL"),
    )
    op.create_index(
        "background_jobs_root",
        "background_jobs",
        ["root_id"],
        unique=False,
        postgresql_where=sa.text("root_id <> id"),
        sqlite_where=sa.text("root_id <> id"),
    )
    op.create_index("background_jobs_listing", "background_jobs", ["queued", "id"], unique=False)
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
    op.create_table(
        in_this_step("background_workers"),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("hostname", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pool", sa.String(length=32), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("queues", sa.JSON(), nullable=False),
        sa.Column("tasks", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("started", columns.Instant(), nullable=False),
        sa.Column("heartbeat", columns.Instant(), nullable=False),
        sa.Column("stopped", columns.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        in_this_step("background_workers_by_heartbeat"),
        in_this_step("background_workers"),
        ["heartbeat"],
        unique=False,
    )
    op.create_table(
        in_this_step("background_attempts"),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("started", columns.Instant(), nullable=True),
        sa.Column("finished", columns.Instant(), nullable=False),
        sa.Column("kind", columns.Word(length=16), nullable=False),
        sa.Column("exception_type", sa.String(length=255), nullable=True),
        sa.Column("exception", sa.Text(), nullable=True),
        sa.Column("frame", sa.String(length=255), nullable=True),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["background_jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "attempt"),
    )


def downgrade() -> None:
    for table in ("background_attempts", "background_workers", "background_schedules", "background_jobs"):
        op.drop_table(in_this_step(table))
