"""What a keeper asks takes one search of an index; which tasks the workers know, by name.

Whether a workflow has jobs that are to be done; which rows were put back for an unknown task.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLE = "background_jobs"

#: Name, columns, the rows that are in it, and the index that it takes the place of.
_INDEXES = (
    ("background_jobs_by_group", "group_id", "group_id IS NOT NULL", "background_jobs_group"),
    ("background_jobs_by_root", "root_id", "root_id <> id", "background_jobs_root"),
)


def upgrade() -> None:
    for name, column, rows, former in _INDEXES:
        _create(name, [column, "finished"], rows)
        op.drop_index(former, table_name=_TABLE)
    _create("background_jobs_unknown", ["job_type"], "unknown_since IS NOT NULL")
    op.create_table(
        "worker_tasks",
        sa.Column("tasks", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
    )


def downgrade() -> None:
    op.drop_table("worker_tasks")
    op.drop_index("background_jobs_unknown", table_name=_TABLE)
    for name, column, rows, former in _INDEXES:
        _create(former, [column], rows)
        op.drop_index(name, table_name=_TABLE)


def _create(name: str, columns: list[str], rows: str) -> None:
    where = sa.text(rows)
    op.create_index(name, _TABLE, columns, postgresql_where=where, sqlite_where=where)
