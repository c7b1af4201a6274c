"""What is held is not in the index through which the dispatcher looks; attempts are found by their end.

The index that it takes the place of stays for programs of before.
"""

from celeriac.ledger import online

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_JOBS = "background_jobs"


def upgrade() -> None:
    online.create_index(
        "background_jobs_to_send",
        _JOBS,
        ["priority", "next_attempt_after"],
        where="dispatched IS NULL AND held IS NULL",
    )
    online.create_index("background_jobs_kept", _JOBS, ["held", "id"], where="held IS NOT NULL")
    online.create_index("background_attempts_finished", "background_attempts", ["finished"])


def downgrade() -> None:
    online.drop_index("background_attempts_finished", "background_attempts")
    online.drop_index("background_jobs_kept", _JOBS)
    online.drop_index("background_jobs_to_send", _JOBS)
