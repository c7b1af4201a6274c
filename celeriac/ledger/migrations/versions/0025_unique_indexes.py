"""No two jobs hold the same unique key; jobs that follow others are found by those."""

from celeriac.ledger import online

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_JOBS = "background_jobs"
_HOLDS_KEY = (
    "unique_key IS NOT NULL AND finished IS NULL"
    " AND (unique_while = 'active' OR (unique_while = 'waiting' AND last_worker_id IS NULL))"
)


def upgrade() -> None:
    online.create_index("background_jobs_unique", _JOBS, ["unique_key"], where=_HOLDS_KEY, unique=True)
    rows = "follows IS NOT NULL AND finished IS NULL"
    online.create_index("background_jobs_following", _JOBS, ["follows"], where=rows)
    online.create_index("background_unique_keys_until", "background_unique_keys", ["until"])


def downgrade() -> None:
    online.drop_index("background_unique_keys_until", "background_unique_keys")
    online.drop_index("background_jobs_following", _JOBS)
    online.drop_index("background_jobs_unique", _JOBS)
