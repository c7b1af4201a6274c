"""Autovacuum comes to a large ledger at a twentieth of its rows, not at a fifth.

A job leaves two dead versions of its row behind. Ten million rows would collect two million of them, some
gigabytes, before PostgreSQL's own setting lets it look; half a million is room that the next jobs use again.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLE = "background_jobs"
_SETTINGS = {
    "autovacuum_vacuum_scale_factor": 0.05,
    "autovacuum_vacuum_threshold": 5_000,  # or a small ledger would be vacuumed all the time
    "autovacuum_analyze_scale_factor": 0.05,
}


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        chosen = ", ".join(f"{name} = {value}" for name, value in _SETTINGS.items())
        op.execute(f"ALTER TABLE {_TABLE} SET ({chosen})")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE {_TABLE} RESET ({', '.join(_SETTINGS)})")
