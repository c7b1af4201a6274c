"""Each message of a row has a tag, so that none is taken for another row's of the same id."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLE = "background_jobs"


def upgrade() -> None:
    op.add_column(_TABLE, sa.Column("message_tag", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column(_TABLE, "message_tag")
