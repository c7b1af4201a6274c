"""What a request of the API may contain. A field that is not one of these is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

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
    hard: bool = False  # terminate what runs (prefork); else it is asked to stop


class Mute(Reason):
    seconds: Annotated[float, Field(ge=60, le=31_536_000)] | None = None  # none: until it changes


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
