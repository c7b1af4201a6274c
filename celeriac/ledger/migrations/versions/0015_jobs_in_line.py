"""Jobs that wait for a permit are found by their line, and not by the dispatcher."""

import sqlalchemy as sa

from celeriac.ledger import online

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_JOBS = "background_jobs"
_IN_LINE = "line IS NOT NULL AND dispatched IS NULL AND held IS NULL"
_DUE = ["priority", "next_attempt_after"]
_LINE: list[str | sa.TextClause] = ["line", sa.text("priority DESC"), "next_attempt_after", "id"]


def upgrade() -> None:
    rows = "dispatched IS NULL AND held IS NULL AND line IS NULL"
    online.create_index("background_jobs_unsent", _JOBS, _DUE, where=rows)
    online.drop_index("background_jobs_to_send", _JOBS)
    online.create_index("background_jobs_in_line", _JOBS, _LINE, where=_IN_LINE)
    online.create_index("background_jobs_came_in_line", _JOBS, ["queued"], where=_IN_LINE)
    for number in (1, 2, 3):
        permit = f"permit_{number}"
        rows = f"{permit} IS NOT NULL AND dispatched IS NOT NULL AND finished IS NULL"
        online.create_index(f"background_jobs_{permit}", _JOBS, [permit, f"weight_{number}"], where=rows)


def downgrade() -> None:
    for number in (1, 2, 3):
        online.drop_index(f"background_jobs_permit_{number}", _JOBS)
    online.drop_index("background_jobs_came_in_line", _JOBS)
    online.drop_index("background_jobs_in_line", _JOBS)
    online.create_index("background_jobs_to_send", _JOBS, _DUE, where="dispatched IS NULL AND held IS NULL")
    online.drop_index("background_jobs_unsent", _JOBS)
