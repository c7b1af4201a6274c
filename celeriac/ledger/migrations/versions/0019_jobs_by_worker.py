"""Jobs are found by the worker that had them last."""

from celeriac.ledger import online

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_NAME, _JOBS = "background_jobs_by_worker", "background_jobs"


def upgrade() -> None:
    rows = "last_worker_id IS NOT NULL AND worker_id IS NULL"
    online.create_index(_NAME, _JOBS, ["last_worker_id", "queued", "id"], where=rows)


def downgrade() -> None:
    online.drop_index(_NAME, _JOBS)
