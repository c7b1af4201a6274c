from datetime import UTC, datetime

from sqlmodel import Field, SQLModel


class Member(SQLModel, table=True):
    __tablename__ = "members"

    id: int | None = Field(default=None, primary_key=True)
    email: str = Field(max_length=200, unique=True)
    welcomed: bool = False


class Digest(SQLModel, table=True):
    """How many members there were."""

    __tablename__ = "digests"

    id: int | None = Field(default=None, primary_key=True)
    made: datetime = Field(default_factory=lambda: datetime.now(UTC))
    members: int
