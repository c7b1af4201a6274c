"""The indexes of all tables. A partial index loads what SQLAlchemy knows of a database, so they stand apart.

Only who makes or compares the tables needs them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index, Table, text

from celeriac.ledger.schema.lifecycle import WAITING, JobState
from celeriac.ledger.schema.limit_tables import LINES, UNIQUE_KEYS
from celeriac.ledger.schema.models import FAILURES, JOBS, SCHEDULES, WORKERS, listed
from celeriac.ledger.schema.operator_tables import ACTIONS, API_TOKENS

_LEFT_A_WORKER = "last_worker_id IS NOT NULL AND worker_id IS NULL"
#: Rows that hold their unique key. No write clears it: the claim and the end of a job take its row out of
#: here, whatever the version of the program that writes them.
_HOLDS_KEY = (
    "unique_key IS NOT NULL AND finished IS NULL"
    " AND (unique_while = 'active' OR (unique_while = 'waiting' AND last_worker_id IS NULL))"
)

_IN_LINE = "line IS NOT NULL AND dispatched IS NULL AND held IS NULL"
_HAS_TURN = "turn IS NOT NULL AND dispatched IS NULL AND held IS NULL"


def _index(table: Table, name: str, *columns: Any, rows: str | None = None, unique: bool = False) -> None:
    """Give ``table`` an index of ``columns``, of these ``rows`` alone."""
    only: dict[str, Any] = (
        {} if rows is None else {"postgresql_where": text(rows), "sqlite_where": text(rows)}
    )
    Index(name, *(table.c[one] if isinstance(one, str) else one for one in columns), unique=unique, **only)


# What the dispatcher looks for. It has no state: a row leaves the index when its message is sent.
# What is held, or waits for a permit, is not in it, so that a look does not grow with that.
_index(
    JOBS,
    "background_jobs_unsent",
    "priority",
    "next_attempt_after",
    rows="dispatched IS NULL AND held IS NULL AND line IS NULL",
)

# What admission looks for: jobs that wait in a line, in the order in which they go; those that came
# lately; and what is in use of a permit.
_index(JOBS, "background_jobs_came_in_line", "queued", rows=_IN_LINE)
for _number in (1, 2, 3):
    _index(
        JOBS,
        f"background_jobs_permit_{_number}",
        f"permit_{_number}",
        f"weight_{_number}",
        rows=f"permit_{_number} IS NOT NULL AND dispatched IS NOT NULL AND finished IS NULL",
    )

# The first unfinished job of an order's key.
_index(
    JOBS, "background_jobs_in_order", "line", "queued", "id", rows="ordered IS NOT NULL AND finished IS NULL"
)

# Fair queues: the last turn of a tenant, and what is to be given a turn when it is due.
_index(JOBS, "background_jobs_turn_of", "line", "priority", "fair_key", "turn", rows=_HAS_TURN)
_index(
    JOBS,
    "background_jobs_no_turn",
    "line",
    "next_attempt_after",
    rows="fair_key IS NOT NULL AND turn IS NULL AND dispatched IS NULL AND held IS NULL",
)
_index(JOBS, "background_jobs_unique", "unique_key", unique=True, rows=_HOLDS_KEY)
_index(JOBS, "background_jobs_following", "follows", rows="follows IS NOT NULL AND finished IS NULL")
_index(JOBS, "background_jobs_kept", "held", "id", rows="held IS NOT NULL")

# For programs of before revision 0013, which look through this one.
_index(JOBS, "background_jobs_undispatched", "priority", "next_attempt_after", rows="dispatched IS NULL")
_index(JOBS, "background_jobs_held", "worker_id", rows="worker_id IS NOT NULL")

# What the search for lost messages looks for: sent, and not claimed since.
_index(JOBS, "background_jobs_sent", "queue", "dispatched", rows=f"state IN ({listed(WAITING)})")

# Only jobs of workflows are in these. One search tells whether a workflow has an unfinished job.
_index(JOBS, "background_jobs_by_group", "group_id", "finished", rows="group_id IS NOT NULL")
_index(JOBS, "background_jobs_by_root", "root_id", "finished", rows="root_id <> id")
_index(JOBS, "background_jobs_listing", "queued", "id")
_index(JOBS, "background_jobs_by_state", "state", "queued")

# For listings, by filter or by order.
_index(JOBS, "background_jobs_by_task", "job_type", "queued", "id")
_index(JOBS, "background_jobs_by_queue", "queue", "queued", "id")
_index(JOBS, "background_jobs_by_user", "user_id", "queued", "id", rows="user_id IS NOT NULL")
_index(JOBS, "background_jobs_by_schedule", "schedule", "queued", "id", rows="schedule IS NOT NULL")
_index(JOBS, "background_jobs_failing", "queued", "id", rows="failure_info IS NOT NULL")
# Dead letters, for counts of them by cause and of those that came lately: these read no row of the table.
_index(JOBS, "background_jobs_dead", "finished", "job_type", "id", rows=f"state = '{JobState.FAILED}'")
_index(JOBS, "background_jobs_due", "next_attempt_after", "id", rows=f"state IN ({listed(WAITING)})")

# Jobs that workers put back because they do not know the task; hardly ever any.
_index(JOBS, "background_jobs_unknown", "job_type", rows="unknown_since IS NOT NULL")

# For listings by worker. A claim enters nothing here: who runs a job is in background_jobs_held.
_index(JOBS, "background_jobs_by_worker", "last_worker_id", "queued", "id", rows=_LEFT_A_WORKER)

# For counts of jobs that ended lately.
_index(JOBS, "background_jobs_finished", "finished", rows="finished IS NOT NULL")

# For counts of attempts that ended lately.
_index(FAILURES, "background_attempts_finished", "finished")
_index(WORKERS, "background_workers_by_heartbeat", "heartbeat")
_index(SCHEDULES, "background_schedules_due", "next_run", rows="next_run IS NOT NULL")

# With an order that only columns of a table can say.
_index(
    JOBS,
    "background_jobs_in_line",
    JOBS.c.line,
    JOBS.c.priority.desc(),
    JOBS.c.next_attempt_after,
    JOBS.c.id,
    rows=_IN_LINE,
)

# A fair queue, in the order in which it goes.
_index(
    JOBS,
    "background_jobs_by_turn",
    JOBS.c.line,
    JOBS.c.priority.desc(),
    JOBS.c.turn,
    JOBS.c.id,
    rows=_HAS_TURN,
)
_index(LINES, "background_lines_due", "due", rows="due IS NOT NULL")
_index(LINES, "background_lines_blocked", "blocked_on", "turn", rows="blocked_on IS NOT NULL")
_index(UNIQUE_KEYS, "background_unique_keys_until", "until")
_index(ACTIONS, "background_actions_listing", "began", "id")
_index(ACTIONS, "background_actions_by_person", "who", "began", "id")
_index(ACTIONS, "background_actions_by_job", "job_id", rows="job_id IS NOT NULL")
_index(ACTIONS, "background_actions_unfinished", "touched", rows="ended IS NULL")
_index(ACTIONS, "background_actions_request", "request_key", unique=True, rows="request_key IS NOT NULL")
_index(API_TOKENS, "background_api_tokens_by_digest", "digest", unique=True)
