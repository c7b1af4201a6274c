"""The demonstration's load: the jobs to enqueue, and the state that each should end in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from itertools import cycle
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import chord

from celeriac.ids import parse_id
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.priorities import Priority

if TYPE_CHECKING:
    from celeriac.application import Celeriac

DELIVER, REPORT = "webhooks.deliver", "reports.daily"

#: The environment variable in which the worker finds the key that deliveries are signed with.
SECRET_ENV = "WEBHOOK_SECRET_DEMO"  # noqa: S105  # the name of one

#: Jobs of each thousand that go to a path of the receiver that misbehaves.
_MISBEHAVING = {"/flaky": 100, "/slow": 50, "/limited": 40, "/gone": 25, "/broken": 20}
_REPORTS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A job that is to be enqueued.

    Attributes:
        path: of the receiver, for a delivery.
        state: the one that it should end in.
    """

    task: str
    priority: Priority
    path: str = ""
    state: JobState = JobState.COMPLETED
    max_tries: int | None = None

    def __str__(self) -> str:
        return f"{self.task} {self.path}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is enqueued: single jobs, and a chord of deliveries whose body is a report."""

    singles: tuple[Planned, ...]
    members: tuple[Planned, ...]
    body: Planned

    def __len__(self) -> int:
        return len(self.singles) + len(self.members) + 1


def load(jobs: int) -> Load:
    """A load of ``jobs`` jobs of every sort and priority, the sorts spread evenly over it.

    >>> len(load(240)), sorted({planned.path for planned in load(240).singles if planned.path})
    (240, ['/broken', '/flaky', '/gone', '/limited', '/ok', '/slow'])
    """
    members = max(2, jobs // 30)
    sorts = {path: max(1, jobs * share // 1000) for path, share in _MISBEHAVING.items()}
    sorts[REPORT] = max(1, jobs * _REPORTS // 1000)
    sorts["/ok"] = jobs - members - 1 - sum(sorts.values())
    places = sorted(((n + 0.5) / count, sort) for sort, count in sorts.items() for n in range(count))
    levels = cycle(Priority)
    return Load(
        singles=tuple(_planned(sort, level) for (_, sort), level in zip(places, levels, strict=False)),
        members=tuple(_planned("/ok", level) for _, level in zip(range(members), levels, strict=False)),
        body=_planned(REPORT, Priority.HIGH),
    )


def _planned(sort: str, priority: Priority) -> Planned:
    if sort == REPORT:
        return Planned(task=REPORT, priority=priority)
    if sort == "/gone":  # refused: final at the first attempt
        return Planned(task=DELIVER, path=sort, priority=priority, state=JobState.FAILED)
    if sort == "/broken":
        return Planned(task=DELIVER, path=sort, priority=priority, state=JobState.FAILED, max_tries=3)
    return Planned(task=DELIVER, path=sort, priority=priority)


@dataclass
class Enqueuer:
    """Enqueues a load as a team's own code would: with signatures and ``.delay()``.

    Attributes:
        accepted: the enqueued jobs by id. A chord's body gets its row when its members are done.
    """

    app: Celeriac
    receiver: str
    user_id: str
    day: date
    accepted: dict[UUID, Planned] = field(default_factory=dict)

    def enqueue(self, wanted: Load, *, stop: Callable[[], object]) -> None:
        """Enqueue the load until ``stop`` returns true. The chord is enqueued in the middle."""
        middle = len(wanted.singles) // 2
        for position, planned in enumerate(wanted.singles):
            if stop():
                return
            if position == middle:
                self._enqueue_chord(wanted)
            self.accepted[parse_id(self._signature(planned).delay().id)] = planned

    def _enqueue_chord(self, wanted: Load) -> None:
        members = [self._signature(planned) for planned in wanted.members]
        body = chord(members)(self._signature(wanted.body))
        self.accepted[parse_id(body.id)] = wanted.body
        for member, planned in zip(body.parent.results, wanted.members, strict=True):
            self.accepted[parse_id(member.id)] = planned

    def _signature(self, planned: Planned) -> Any:
        options: dict[str, Any] = {"priority": planned.priority.queue, "user_id": self.user_id}
        if planned.max_tries is not None:
            options["max_tries"] = planned.max_tries
        task = self.app.tasks[planned.task]
        if planned.task == REPORT:
            return task.si(self.day.isoformat()).set(**options)
        payload = {"event": "order.paid", "order": len(self.accepted) + 1}
        return task.si(f"{self.receiver}{planned.path}", payload, secret_env=SECRET_ENV).set(**options)
