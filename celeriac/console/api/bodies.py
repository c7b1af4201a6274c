"""What a request of the API may contain. A field that is not one of these is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from celeriac.ledger.schema.lifecycle import JobState


def _with_hyphens(name: str) -> str:
    return name.replace("_", "-")


_Moment = Annotated[str, Field(min_length=1, max_length=40)]
_Name = Annotated[str, Field(min_length=1, max_length=255)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewJob(Body):
    """A job to be enqueued. The arguments are checked against the task's signature."""

    task: _Name
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    queue: _Name | None = None
    priority: Annotated[int, Field(ge=0, le=100)] | str | None = None
    countdown: Annotated[float, Field(ge=0, le=3_153_600_000)] | None = None
    expires: Annotated[float, Field(gt=0, le=3_153_600_000)] | None = None
    user_id: _Name | None = None
    idempotency_key: _Name | None = None
    max_tries: Annotated[int, Field(ge=1, le=1000)] | None = None


class Reason(Body):
    reason: Annotated[str, Field(max_length=1000)] | None = None  # on record, and shown to whoever asks


class Move(Reason):
    """Where a waiting job is moved; what is left out stays."""

    queue: _Name | None = None
    priority: Annotated[int, Field(ge=0, le=100)] | str | None = None


class Cancel(Reason):
    hard: bool = False  # terminate what runs (burst, prefork); else it is asked to stop


class Mute(Reason):
    seconds: Annotated[float, Field(ge=60, le=31_536_000)] | None = None  # none: until it changes


class WhichJobs(Body):
    """A filter; the words are those of `celery -A app jobs list`."""

    model_config = ConfigDict(extra="forbid", alias_generator=_with_hyphens, populate_by_name=True)

    state: JobState | None = None
    task: _Name | None = None
    queue: _Name | None = None
    user: _Name | None = None
    schedule: _Name | None = None
    error: _Name | None = None
    worker: _Name | None = None
    version: _Name | None = None
    since: _Moment | None = None
    until: _Moment | None = None
    finished_since: _Moment | None = None
    finished_until: _Moment | None = None
    argument: _Name | None = None
    id_prefix: _Moment | None = None

    def words(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, exclude_none=True)


class Bulk(Reason):
    """An action on many jobs; one of `filter`, `ids` and `groups` says which."""

    action: Literal["cancel", "cancel-hard", "run-now", "move", "replay", "discard"]
    filter: WhichJobs | None = None
    ids: Annotated[list[_Name], Field(min_length=1, max_length=1000)] | None = None
    groups: Annotated[list[_Name], Field(min_length=1, max_length=1000)] | None = None  # keys of dead letters
    expected: Annotated[int, Field(ge=0)] | None = None  # more jobs than these are refused; none: 1,000
    rate: Annotated[float, Field(ge=0.1, le=1e6)] | None = None  # jobs a second, at most
    canary: bool = False  # of a replay: five first, the rest while 95 % succeed
    queue: _Name | None = None  # of a move
    priority: Annotated[int, Field(ge=0, le=100)] | str | None = None  # of a move


class Replay(Reason):
    """Other arguments for the dead letter; none: as it was."""

    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None


class NewSchedule(Body):
    """A schedule to be registered; one of every, cron and at."""

    task: _Name
    every: float | None = None  # seconds
    cron: str | None = None  # five fields
    at: datetime | None = None
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    timezone: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    catch_up: str = "once"
    catch_up_limit: int = 100
    overlap: str = "allow"
    jitter: float = 0.0
    enabled: bool | None = None
    priority: int | str | None = None
    queue: str | None = None
    user_id: str | None = None
    max_tries: int | None = None
    timeout: float | None = None
    expires: float | None = None
