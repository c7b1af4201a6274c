"""Whether a workflow has jobs that are to be done is answered by one search of an index."""

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


def downgrade() -> None:
    for name, column, rows, former in _INDEXES:
        _create(former, [column], rows)
        op.drop_index(name, table_name=_TABLE)


def _create(name: str, columns: list[str], rows: str) -> None:
    where = sa.text(rows)
    op.create_index(name, _TABLE, columns, postgresql_where=where, sqlite_where=where)
