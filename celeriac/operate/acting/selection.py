"""Which jobs an action means: some by their ids, all that fit a filter, or dead letters of some causes.

It is kept in the row of the action, so that another process can go on with it. Ids are met in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from celeriac.ledger.reads.job_filter import Filter
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes import dead_letters
from celeriac.operate.dead_letters import Cause
from celeriac.operate.job import Job

#: Reads at most ``limit`` ids behind ``beyond`` of jobs that fit, on the connection that it is given.
Find = Callable[..., list[UUID]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One of the three is given; the others are None.

    Attributes:
        wanted: with instants, so that it means the same later.
        until: of causes, only dead letters that failed before it: one that fails again is met once.
    """

    ids: tuple[UUID, ...] | None = None
    wanted: Filter | None = None
    causes: tuple[Cause, ...] | None = None
    until: datetime | None = None

    def next_ids(
        self, connection: Connection, find: Find, *, position: str | None, limit: int
    ) -> tuple[list[UUID], str | None]:
        """The next ids behind ``position``, and the position behind them; None: there is nothing more."""
        part, beyond = _position(position)
        if self.ids is not None:
            left = [id for id in self.ids if beyond is None or id > beyond][:limit]
            return left, f"0/{left[-1]}" if left else None
        for number in range(part, len(self.causes or (None,))):
            found = self._found(connection, find, number, beyond, limit)
            if found:
                return found, f"{number}/{found[-1]}"
            beyond = None
        return [], None

    def _found(
        self, connection: Connection, find: Find, number: int, beyond: UUID | None, limit: int
    ) -> list[UUID]:
        if self.causes is None:
            return find(connection, wanted=self.wanted or Filter(), limit=limit, beyond=beyond)
        cause = self.causes[number]
        return dead_letters.members(
            connection,
            task=cause.task,
            exception_type=cause.exception_type,
            frame=cause.frame,
            exactly=cause.exactly,
            until=self.until,
            limit=limit,
            beyond=beyond,
        )

    def meant(self, found: Job, *, position: str | None, whole: bool) -> bool:
        """Whether it means the job, and has come to it.

        What changes of a job, as its state and its queue, is left out: it may have been another then.

        Args:
            whole: it has come to all.
        """
        id, (part, beyond) = UUID(found.id), _position(position)
        if self.ids is not None:
            places = [0] if id in self.ids else []
        elif self.causes is not None:
            places = [place for place, cause in enumerate(self.causes) if _is_of(found, cause)]
        else:
            places = [0] if _fits(found, self.wanted or Filter()) else []
        return any(
            whole or place < part or (place == part and beyond is not None and id <= beyond)
            for place in places
        )

    def plain(self) -> dict[str, Any]:
        """For JSON; ``of`` reads it."""
        if self.ids is not None:
            return {"ids": [str(id) for id in self.ids]}
        if self.causes is not None:
            named = [
                {field.name: getattr(cause, field.name) for field in fields(cause)} for cause in self.causes
            ]
            return {"causes": named, "until": None if self.until is None else self.until.isoformat()}
        given = {field.name: getattr(self.wanted, field.name) for field in fields(Filter)}
        return {"filter": {name: _plain(value) for name, value in given.items() if value is not None}}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Selection:
        if "ids" in values:
            return cls(ids=tuple(sorted(map(UUID, values["ids"]))))
        if "causes" in values:
            until = values.get("until")
            causes = tuple(Cause(**each) for each in values["causes"])
            return cls(causes=causes, until=None if until is None else datetime.fromisoformat(until))
        return cls(wanted=Filter(**{name: _read(name, value) for name, value in values["filter"].items()}))


def _is_of(found: Job, cause: Cause) -> bool:
    kinds = {attempt.exception_type for attempt in found.attempts}
    return cause.task in (None, found.task) and (
        cause.exception_type is None or cause.exception_type in kinds
    )


def _fits(found: Job, wanted: Filter) -> bool:
    asked = (
        (found.task, wanted.task),
        (found.user_id, wanted.user_id),
        (found.schedule, wanted.schedule),
    )
    accepted = (wanted.since, wanted.until)
    since, until = (each if isinstance(each, datetime) else None for each in accepted)
    return (
        all(value in (None, has) for has, value in asked)
        and (since is None or found.queued >= since)
        and (until is None or found.queued < until)
        and (wanted.ids is None or wanted.ids[0] <= UUID(found.id) <= wanted.ids[1])
    )


def _position(text: str | None) -> tuple[int, UUID | None]:
    if text is None:
        return 0, None
    part, _, id = text.partition("/")
    return int(part), UUID(id)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return str(value) if isinstance(value, JobState) else value


def _read(name: str, value: Any) -> Any:
    if name.endswith(("since", "until")):
        return datetime.fromisoformat(value)
    if name in ("ids", "worker_ids"):
        return tuple(map(UUID, value))
    return JobState(value) if name == "state" else value


def in_words(ids: Sequence[str]) -> str:
    """Some jobs, for people."""
    return f"{len(ids)} chosen: {', '.join(ids[:3])}{' …' if len(ids) > 3 else ''}"
