"""Dead letters are counted by their cause, and those that came lately, without a look at their rows."""

from celeriac.ledger import online

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_NAME, _JOBS = "background_jobs_dead", "background_jobs"


def upgrade() -> None:
    online.create_index(_NAME, _JOBS, ["finished", "job_type", "id"], where="state = 'failed'")


def downgrade() -> None:
    online.drop_index(_NAME, _JOBS)
