"""The notes on a plain Celery project that moves here, decided from its facts alone.

Nothing is said of what nobody set, but for jobs without a time limit, which are worth one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from celeriac.broker.queues import problems
from celeriac.errors import BadArgument
from celeriac.ledger.schema.lanes import CELERYS, DEFAULT, check, place_of
from celeriac.operate.adoption.facts import Facts
from celeriac.operate.adoption.source import Place, Use
from celeriac.priorities import LEVELS
from celeriac.settings import celery_settings
from celeriac.settings.celery_settings import TRANSPORT_RULINGS, Verdict, ruling

_SHOWN = 5  # names or places
_HOUR = 3600.0
_SPOKEN = ("redis", "rediss", "redis+socket", "unix", "sentinel")
_AMQP = ("amqp", "amqps", "pyamqp", "librabbitmq")
_NO_RESULTS = ("disabled", "disabled://")

#: Judged by a check of their own.
_ELSEWHERE = frozenset(
    {"broker_url", "broker_transport_options", "result_backend", "beat_schedule", "task_queues"}
)


class Kind(StrEnum):
    BLOCKS = "blocks"  # is refused here, or would be lost
    CHANGE = "change"  # works, in another way
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    kind: Kind
    about: str
    sentence: str
    remedy: str


def judge(facts: Facts) -> list[Note]:
    """Every note; first what blocks."""
    order = list(Kind)
    checks = (_servers, _settings, _serializers, _tasks, _classes, _queues, _time, _schedule, _beside)
    found = [note for check in checks for note in check(facts)]
    return sorted(found, key=lambda note: order.index(note.kind))


def _servers(facts: Facts) -> Iterator[Note]:
    if facts.broker is not None and facts.broker not in _SPOKEN:
        yield _blocks(
            "broker", f"its broker is {facts.broker}", "run Redis or Valkey 6.2+, see docs/adopting.md"
        )
    if facts.results is not None and facts.results not in (*_SPOKEN, *_NO_RESULTS):
        sentence = (
            f"its result backend is {facts.results}: results are kept in Redis and in the job's row here"
        )
        yield _blocks("results", sentence, "read old results before the move; name a Redis, or none")


def _settings(facts: Facts) -> Iterator[Note]:
    """By the table of settings, which an app is refused by when it starts."""
    judged = {name: facts.settings[name] for name in facts.settings if name not in _ELSEWHERE}
    for sentence in celery_settings.refusals(judged):
        yield _blocks("settings", sentence, "remove it")
    met = [name for name in judged if _verdict(name) in (Verdict.MET, Verdict.UNREAD)]
    options = facts.settings.get("broker_transport_options") or {}
    for name, value in options.items() if isinstance(options, dict) else ():
        if refused := celery_settings.refusal(str(name), value, TRANSPORT_RULINGS):
            yield _blocks("settings", f"broker_transport_options: {refused}", "remove it")
        elif (known := ruling(str(name), TRANSPORT_RULINGS)) is not None and known.verdict is Verdict.MET:
            met.append(f"broker_transport_options[{name!r}]")
    if met:
        yield _note("settings", f"without effect here: {_some(met)}", "nothing to do; see docs/adopting.md")
    if facts.settings.get("task_always_eager"):
        sentence = "task_always_eager is on: nothing is enqueued, nothing is on record"
        yield _blocks("eager", sentence, "turn it off outside of tests; see docs/testing.md")


def _verdict(name: str) -> Verdict | None:
    found = ruling(name)
    return found.verdict if found is not None else None


def _serializers(facts: Facts) -> Iterator[Note]:
    places = _places(facts, Use.SERIALIZER)
    others = [task.name for task in facts.tasks if task.serializer not in (None, "json")]
    # A task has the setting's value unless it says another; the setting is judged already.
    others = [] if "task_serializer" in facts.settings else others
    if found := [*map(str, places), *(() if places else others)]:
        sentence = f"another serializer than JSON: {_some(found)}"
        yield _blocks("serializer", sentence, "pass plain values; let old messages drain before the move")


def _tasks(facts: Facts) -> Iterator[Note]:
    if early := _places(facts, Use.EARLY):
        sentence = f"acks_late=False is refused, and so are the jobs of these tasks: {_some(early)}"
        remedy = "remove it; say max_tries=1 where a job must not be tried twice, see docs/idempotency.md"
        yield _blocks("acks_late", sentence, remedy)
    if once := _places(facts, Use.ONCE):
        sentence = f"not tried a second time: {_some(once)}; one whose worker dies is a dead letter"
        yield _note("max_retries", sentence, "replay it when it may run again; see docs/commands.md")
    if coroutines := _places(facts, Use.COROUTINE):
        yield _blocks("coroutine", f"async def as a task: {_some(coroutines)}", "make it a def that runs it")
    endless = [task.name for task in facts.tasks if not task.limited]
    if endless and "task_time_limit" not in facts.settings:
        sentence = f"no time limit: {_some(endless)}; a job that hangs holds its child for ever"
        yield _note("time limit", sentence, "set task_time_limit to more than the longest job takes")
    limit = facts.settings.get("task_time_limit")
    if isinstance(limit, int | float) and limit > _HOUR:
        sentence = f"task_time_limit is {limit:g} seconds: a job that hangs holds its child as long"
        yield _note("time limit", sentence, "nothing to do")
    if delays := _places(facts, Use.DELAY):
        sentence = f"eta or countdown: {_some(delays)}; they wait in SQL here, in the memory of old workers"
        yield _note("delays", sentence, "stop old workers warmly: they give back what waits")


def _classes(facts: Facts) -> Iterator[Note]:
    if unfit := [f"{task.name}: {task.unfit}" for task in facts.tasks if task.unfit]:
        yield _blocks("task class", f"cannot be joined with ours: {_some(unfit)}", "derive from celery.Task")
    own = sorted({task.own_class for task in facts.tasks if task.own_class})
    classes: Sequence[object] = own if facts.imported else _places(facts, Use.TASK_CLASS)
    if classes:
        sentence = f"classes of tasks: {_some(classes)}; each is joined with ours when it is registered"
        yield _note("task class", sentence, "nothing to do")
    requests = sorted({task.own_request for task in facts.tasks if task.own_request})
    found: Sequence[object] = requests if facts.imported else _places(facts, Use.REQUEST)
    if found:
        sentence = f"classes of requests: {_some(found)}; each is joined with ours, which records the outcome"
        yield _change("request class", sentence, "call super() in what it overrides")


def _queues(facts: Facts) -> Iterator[Note]:
    names = {place.value for place in _places(facts, Use.QUEUE) if place.value}
    names |= {*_routed(facts.settings.get("task_routes")), *facts.routed.queues}
    names |= {str(getattr(queue, "name", queue)) for queue in facts.settings.get("task_queues") or ()}
    names |= {str(facts.settings.get("task_default_queue") or DEFAULT)}
    refused = [*problems(facts.settings.get("task_queues")), *filter(None, map(_no_queue, sorted(names)))]
    for sentence in dict.fromkeys(refused):
        yield _blocks("queue names", sentence, "see docs/queues.md")
    places = {name: place_of(name) for name in sorted(names) if not _no_queue(name)}
    if lanes := sorted({place.lane for place in places.values()} - {DEFAULT, CELERYS}):
        sentence = f"queues: {_some(lanes)}; each is a lane with the levels {', '.join(LEVELS)}"
        yield _change("queues", sentence, "nothing need be done; see docs/queues.md")
    if levels := [name for name in places if name in LEVELS]:
        sentence = f"queues: {_some(levels)}; these are levels of the default lane"
        yield _change("levels", sentence, "give them other names, if they are to be apart")
    if facts.routed.unasked:
        sentence = f"a router of task_routes could not be asked: {_some(facts.routed.unasked)}"
        yield _note(
            "router", sentence, "its queues are not looked at: see docs/queues.md for what names may be"
        )
    if exchanges := _places(facts, Use.EXCHANGE):
        sentence = f"an exchange or a routing key: {_some(exchanges)}; a queue is addressed by its name alone"
        yield _blocks("exchange", sentence, "say queue= or priority=")
    yield from _priorities(facts)


def _no_queue(name: str) -> str | None:
    try:
        check(name)
    except BadArgument as exc:
        return str(exc)
    return None


def _priorities(facts: Facts) -> Iterator[Note]:
    numbers = [str(place) for place in _places(facts, Use.PRIORITY)]
    if not numbers:
        numbers = [f"{task.name}: {task.priority}" for task in facts.tasks if task.priority is not None]
    if "task_default_priority" in facts.settings:
        numbers.append(f"task_default_priority: {facts.settings['task_default_priority']}")
    if numbers:
        there = "9 is the most important there" if facts.broker in _AMQP else "0 is the most important there"
        sentence = f"numbers as priorities: {_some(numbers)}; {there}, here 0 to 9 are low and 30 is critical"
        yield _change("priority", sentence, "say low, normal, high or critical")


def _routed(routes: object) -> Iterator[str]:
    for each in routes if isinstance(routes, list | tuple) else [routes or {}]:
        for route in each.values() if isinstance(each, dict) else ():
            queue = route.get("queue") if isinstance(route, dict) else route
            name = getattr(queue, "name", queue)
            if isinstance(name, str):
                yield name


def _time(facts: Facts) -> Iterator[Note]:
    zone = facts.settings.get("timezone")
    naive = facts.settings.get("enable_utc") is False
    if naive or (zone is not None and str(zone) not in ("UTC", "Etc/UTC")):
        set_to = f"timezone {zone}" if zone is not None else "enable_utc False"
        set_to += ", enable_utc False" if naive and zone is not None else ""
        sentence = f"{set_to}: crontabs are read in it as before; every moment in the ledger is UTC"
        yield _change("time zone", sentence, "give eta and expires with a zone")


def _schedule(facts: Facts) -> Iterator[Note]:
    for sentence in facts.bad_entries:
        yield _blocks("schedule", sentence, "say every, cron or at")
    if facts.entries:
        sentence = f"entries of beat_schedule: {_some(facts.entries)}; they stay there, a fire makes one job"
        remedy = "`schedules import --from config` carries over when each ran last"
        yield _change("schedule", sentence, remedy)


def _beside(facts: Facts) -> Iterator[Note]:
    found = facts.surroundings
    for pin in found.pins:
        yield _blocks("versions", f"pinned: {pin}", "raise the pin; try its tests with plain Celery first")
    for clash in found.installed:
        yield _blocks("versions", f"installed: {clash}", "pip install --upgrade it")
    for name in found.shadow:
        yield _blocks("names", f"{name} of the project is imported in place of the platform", "rename it")
    for name, package in found.commands.items():
        yield _change(
            "names", f"`celery {name}` is also a command of {package}", "one of them is not reached"
        )
    if found.migrations:
        sentence = f"Alembic's autogenerate would drop the ledger's tables: {_some(found.migrations)}"
        yield _change(
            "alembic", sentence, "pass celeriac.contrib.alembic.include_object; or a database of its own"
        )
    if facts.source.unreadable:
        yield _note("source", f"could not be read: {_some(facts.source.unreadable)}", "look there by hand")


def _places(facts: Facts, use: Use) -> tuple[Place, ...]:
    return facts.source.places.get(use, ())


def _some(values: Sequence[object]) -> str:
    shown = ", ".join(map(str, values[:_SHOWN]))
    return shown if len(values) <= _SHOWN else f"{shown} and {len(values) - _SHOWN} more"


def _blocks(about: str, sentence: str, remedy: str) -> Note:
    return Note(kind=Kind.BLOCKS, about=about, sentence=sentence, remedy=remedy)


def _change(about: str, sentence: str, remedy: str) -> Note:
    return Note(kind=Kind.CHANGE, about=about, sentence=sentence, remedy=remedy)


def _note(about: str, sentence: str, remedy: str) -> Note:
    return Note(kind=Kind.NOTE, about=about, sentence=sentence, remedy=remedy)
