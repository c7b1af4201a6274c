"""The first unfinished job of an order's key is found by its line."""

from celeriac.ledger import online

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_JOBS = "background_jobs"


def upgrade() -> None:
    rows = "ordered IS NOT NULL AND finished IS NULL"
    online.create_index("background_jobs_in_order", _JOBS, ["line", "queued", "id"], where=rows)


def downgrade() -> None:
    online.drop_index("background_jobs_in_order", _JOBS)
