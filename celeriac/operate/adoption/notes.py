"""The notes on a plain Celery app that moves here, decided from its facts alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from celeriac.operate.adoption.facts import Facts
from celeriac.priorities import FOREIGN, QUEUES

_SHOWN = 5  # names or places


class Kind(StrEnum):
    RISK = "risk"  # would be refused, lost, or run differently than intended
    CHANGE = "change"  # works, in another way
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    kind: Kind
    about: str
    sentence: str
    remedy: str


def judge(facts: Facts) -> list[Note]:
    """Every note; the risks first."""
    order = list(Kind)
    checks = (_broker, _serializers, _tasks, _queues, _source, _rest)
    found = [note for check in checks for note in check(facts)]
    return sorted(found, key=lambda note: order.index(note.kind))


def _broker(facts: Facts) -> Iterator[Note]:
    if facts.broker not in ("redis", "rediss", "redis+socket"):
        yield _risk("broker", f"its broker is {facts.broker}", "run Redis or Valkey 6.2+")
    if facts.results is None:
        yield _note("results", "it keeps no results", "nothing to do: return values are kept for a day")
    elif facts.results not in ("redis", "rediss", "redis+socket"):
        sentence = f"its result backend is {facts.results}: results move to Redis and into the job's row"
        yield _risk("results", sentence, "read old results before the move; CELERY_RESULT_BACKEND is a Redis")
    if facts.visibility_timeout is not None:
        sentence = f"visibility_timeout {facts.visibility_timeout} has no meaning here"
        yield _change("visibility", sentence, "remove it; a worker's death is noticed within seconds")
    if facts.transport_options:
        yield _change(
            "transport", f"broker_transport_options are ours: {_some(facts.transport_options)}", "remove them"
        )


def _serializers(facts: Facts) -> Iterator[Note]:
    pickled = [name for name, serializer in facts.serializers.items() if serializer != "json"]
    pickled += [task.name for task in facts.tasks if task.serializer not in (None, "json")]
    if pickled:
        sentence = f"not JSON: {_some(pickled)}; arguments and results are JSON here"
        yield _risk("serializer", sentence, "pass plain values, and let old messages drain before the move")
    others = [each for each in facts.accepts if each not in ("json", "application/json")]
    if others:
        sentence = f"it accepts {_some(others)}; messages of that kind become dead letters here"
        yield _risk("accept_content", sentence, "let them drain before the move")


def _tasks(facts: Facts) -> Iterator[Note]:
    early = [task.name for task in facts.tasks if not task.acks_late]
    if early:
        sentence = (
            f"{len(early)} tasks acknowledge early (acks_late=False): {_some(early)}; here a job whose "
            "worker dies is run again"
        )
        yield _risk("acks_late", sentence, "remove it; say max_tries=1 where a job must run at most once")
    endless = [task.name for task in facts.tasks if task.time_limit is None and task.soft_time_limit is None]
    if endless and facts.time_limit is None:
        sentence = f"{len(endless)} tasks have no time limit: {_some(endless)}; here it is an hour"
        yield _change(
            "time limit", sentence, "say timeout= on those that take longer, or CELERIAC_HARD_LIMIT"
        )
    if facts.tasks:
        sentence = "every task is retried by default, five tries in all, after any exception"
        yield _change("retries", sentence, "say max_tries=1 on tasks that must not be, or dont_autoretry_for")
    if facts.reject_on_worker_lost:
        yield _note("worker lost", "task_reject_on_worker_lost is the rule here", "remove it")


def _queues(facts: Facts) -> Iterator[Note]:
    own = [queue for queue in facts.queues if queue not in (*QUEUES, FOREIGN)]
    if own:
        sentence = f"its queues {_some(own)} are not here: there is one for each of {', '.join(QUEUES)}"
        yield _risk("queues", sentence, "say priority= on the tasks, and let the old queues drain")
    if facts.routes:
        routes = [f"{pattern} → {queue}" for pattern, queue in sorted(facts.routes.items())]
        yield _risk(
            "routes", f"routed to queues that are nowhere defined: {_some(routes)}", "say priority= instead"
        )


def _source(facts: Facts) -> Iterator[Note]:
    uses = facts.uses
    if uses.delays:
        sentence = (
            f"{len(uses.delays)} calls give an eta or a countdown: {_some(uses.delays)}; "
            "they wait in SQL here"
        )
        yield _change("delays", sentence, "let those that wait in workers fire before the move")
    if uses.priorities:
        sentence = (
            f"{len(uses.priorities)} calls give a priority: {_some(uses.priorities)}; "
            "here 0 is low, 30 critical"
        )
        yield _risk("priority", sentence, "say low, normal, high or critical")
    if uses.unnamed:
        sentence = f"{len(uses.unnamed)} tasks are named after their module: {_some(uses.unnamed)}"
        yield _risk("names", sentence, "say name= before files move: waiting jobs know their task by name")
    if uses.unreadable:
        yield _note(
            "source", f"could not be read: {_some(uses.unreadable)}", "look for eta and countdown by hand"
        )


def _rest(facts: Facts) -> Iterator[Note]:
    if facts.always_eager:
        sentence = "task_always_eager is on: nothing is enqueued, nothing is on record"
        yield _risk("eager", sentence, "turn it off outside of tests")
    if facts.schedule:
        sentence = f"{len(facts.schedule)} entries of beat_schedule move to SQL: {_some(facts.schedule)}"
        yield _change("schedule", sentence, "put them into beat_schedule.py; a fire makes exactly one job")
    if "redbeat" not in facts.scheduler and "PersistentScheduler" not in facts.scheduler:
        yield _risk(
            "scheduler",
            f"its scheduler is {facts.scheduler}",
            "register its entries: celeriac.schedules.register",
        )


def _some(values: Sequence[object]) -> str:
    shown = ", ".join(map(str, values[:_SHOWN]))
    return shown if len(values) <= _SHOWN else f"{shown} and {len(values) - _SHOWN} more"


def _risk(about: str, sentence: str, remedy: str) -> Note:
    return Note(kind=Kind.RISK, about=about, sentence=sentence, remedy=remedy)


def _change(about: str, sentence: str, remedy: str) -> Note:
    return Note(kind=Kind.CHANGE, about=about, sentence=sentence, remedy=remedy)


def _note(about: str, sentence: str, remedy: str) -> Note:
    return Note(kind=Kind.NOTE, about=about, sentence=sentence, remedy=remedy)
