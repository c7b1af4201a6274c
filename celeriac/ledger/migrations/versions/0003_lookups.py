"""Indexes for those who look things up: each filter and each order of a listing has one to walk along."""

from celeriac.ledger import online

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLE = "background_jobs"

#: Name, columns, and the rows that are in it; None: all.
_INDEXES = (
    ("background_jobs_by_task", ["job_type", "queued", "id"], None),
    ("background_jobs_by_queue", ["queue", "queued", "id"], None),
    ("background_jobs_by_user", ["user_id", "queued", "id"], "user_id IS NOT NULL"),
    ("background_jobs_by_schedule", ["schedule", "queued", "id"], "schedule IS NOT NULL"),
    ("background_jobs_failing", ["queued", "id"], "failure_info IS NOT NULL"),
    ("background_jobs_due", ["next_attempt_after", "id"], "state IN ('error', 'pending')"),
    ("background_jobs_finished", ["finished"], "finished IS NOT NULL"),
)


def upgrade() -> None:
    for name, columns, rows in _INDEXES:
        online.create_index(name, _TABLE, columns, where=rows)


def downgrade() -> None:
    for name, _, _ in _INDEXES:
        online.drop_index(name, _TABLE)
