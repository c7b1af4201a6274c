"""Whether others use the broker: another installation, lists without a consumer, apps without the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from redis.exceptions import NoPermissionError

from celeriac.display import counted, safe
from celeriac.ledger.reads import neighbours
from celeriac.ledger.reads.neighbours import Adopted
from celeriac.ledger.schema.lanes import rows_of
from celeriac.observe import redis_workers
from celeriac.operate import broker_lists, overview
from celeriac.operate.broker_lists import UnconsumedList
from celeriac.operate.doctor.finding import Area, Finding, fail, ok, warn

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_LATELY = timedelta(days=1)
_MOST = 1000  # adopted jobs that are looked at
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    other_workers: Mapping[UUID, str]  # on this Redis database, unknown to this ledger: id -> host
    lists: Sequence[UnconsumedList]
    adopted: Sequence[Adopted]  # the newest of the last day
    prefixes: Sequence[str] = ()  # of other installations on this Redis database; "": one without


def read(app: Celeriac) -> Facts:
    """Ask the broker and the ledger.

    Raises:
        OSError, OperationalError, RedisError: the broker cannot be reached.
    """
    consumed = {queue for worker in overview.live_workers(app=app) for queue in worker.queues}
    present = _present(app)
    lanes = app.amqp.queues.declared_lanes()
    lists = [each for lane in lanes for each in rows_of(lane)]
    with app.database.reading() as connection:
        known = neighbours.known_workers(connection, list(present))
        adopted = neighbours.adopted(connection, lists, within=_LATELY, limit=_MOST)
    return Facts(
        other_workers={id: host for id, host in present.items() if id not in known},
        lists=_lists(app, consumed),
        adopted=adopted,
        prefixes=_prefixes(app),
    )


def _present(app: Celeriac) -> dict[UUID, str]:
    with app.connection_or_acquire() as connection:
        client: Any = connection.default_channel.whole_keys
        try:
            return redis_workers.recent(client, within=redis_workers.FRESH, prefix=app.settings.prefix)
        except NoPermissionError:  # only the doctor needs this; an ACL may forbid it
            return {}


def _lists(app: Celeriac, consumed: set[str]) -> list[UnconsumedList]:
    try:
        return broker_lists.unconsumed_lists(app, consumed=consumed)
    except NoPermissionError:
        return []


def _prefixes(app: Celeriac) -> list[str]:
    try:
        return broker_lists.other_prefixes(app)
    except NoPermissionError:
        return []


def judge(facts: Facts) -> list[Finding]:
    found = [*_other_installations(facts), *_unconsumed(facts), *_adopted(facts)]
    return found or [ok(Area.BROKER, "neighbours", _alone(facts))]


def _alone(facts: Facts) -> str:
    if not facts.prefixes:
        return "every message in it is this ledger's to draw"
    others = ", ".join(safe(prefix, length=80) or "none" for prefix in facts.prefixes[:_SHOWN])
    return f"nothing is shared with other installations on this Redis database, of the prefixes: {others}"


def _other_installations(facts: Facts) -> Iterator[Finding]:
    if facts.other_workers:
        some = ", ".join(sorted(safe(host, length=80) for host in facts.other_workers.values())[:_SHOWN])
        sentence = (
            f"{counted(len(facts.other_workers), 'worker')} of another ledger on this Redis database "
            f"({some}): each installation takes messages of the other"
        )
        remedy = "give each a CELERIAC_PREFIX or a Redis database of its own, or the same DATABASE_URL"
        yield fail(Area.BROKER, "installations", sentence, remedy=remedy)


def _unconsumed(facts: Facts) -> Iterator[Finding]:
    for each in facts.lists:
        whose = f" from {each.origin}" if each.origin else ""
        sentence = (
            f"nobody draws from the list {each.name}: {counted(each.messages, 'message')}, "
            f"the oldest of {each.task}{whose}"
        )
        remedy = "let its sender enqueue through the app, see docs/operations.md"
        yield warn(Area.BROKER, "lists", sentence, remedy=remedy)


def _adopted(facts: Facts) -> Iterator[Finding]:
    if facts.adopted:
        count = len(facts.adopted)
        whose = Counter((job.task, _host(job.origin)) for job in facts.adopted)
        shown = whose.most_common(_SHOWN)
        some = ", ".join(f"{safe(task, length=80)} from {host} ({n})" for (task, host), n in shown)
        many = f"{'at least ' if count == _MOST else ''}{counted(count, 'job')} of the last day"
        sentence = f"{many} came from apps that do not know the ledger: {some}"
        remedy = "import the app in the package of these tasks, see docs/operations.md"
        yield warn(Area.BROKER, "adopted", sentence, remedy=remedy)


def _host(origin: str | None) -> str:
    """The machine in "gen7@host". The number changes with each process, so it is of no use to a reader."""
    return safe((origin or "an unknown process").rpartition("@")[2], length=80)
