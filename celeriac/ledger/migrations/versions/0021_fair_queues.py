"""What is next in a fair queue, and the last turn of each tenant, are found by an index."""

import sqlalchemy as sa

from celeriac.ledger import online

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_JOBS = "background_jobs"
_HAS_TURN = "turn IS NOT NULL AND dispatched IS NULL AND held IS NULL"
_NO_TURN = "fair_key IS NOT NULL AND turn IS NULL AND dispatched IS NULL AND held IS NULL"
_BY_TURN: list[str | sa.TextClause] = ["line", sa.text("priority DESC"), "turn", "id"]


def upgrade() -> None:
    online.create_index("background_jobs_by_turn", _JOBS, _BY_TURN, where=_HAS_TURN)
    tenants = ["line", "priority", "fair_key", "turn"]
    online.create_index("background_jobs_turn_of", _JOBS, tenants, where=_HAS_TURN)
    online.create_index("background_jobs_no_turn", _JOBS, ["line", "next_attempt_after"], where=_NO_TURN)


def downgrade() -> None:
    for name in ("no_turn", "turn_of", "by_turn"):
        online.drop_index(f"background_jobs_{name}", _JOBS)
