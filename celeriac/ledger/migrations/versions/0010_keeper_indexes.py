"""What a keeper asks takes one search of an index.

Whether a workflow has jobs that are to be done; which rows were put back for an unknown task.
"""

from celeriac.ledger import online

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLE = "background_jobs"

#: Name, columns, the rows that are in it, and the index that it takes the place of.
_INDEXES = (
    ("background_jobs_by_group", ["group_id", "finished"], "group_id IS NOT NULL", "background_jobs_group"),
    ("background_jobs_by_root", ["root_id", "finished"], "root_id <> id", "background_jobs_root"),
)


def upgrade() -> None:
    for name, columns, rows, former in _INDEXES:
        online.create_index(name, _TABLE, columns, where=rows)
        online.drop_index(former, _TABLE)
    online.create_index("background_jobs_unknown", _TABLE, ["job_type"], where="unknown_since IS NOT NULL")


def downgrade() -> None:
    online.drop_index("background_jobs_unknown", _TABLE)
    for name, columns, rows, former in _INDEXES:
        online.create_index(former, _TABLE, columns[:1], where=rows)
        online.drop_index(name, _TABLE)
