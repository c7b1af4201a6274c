"""Unique keys: an open transaction that keeps some busy, and tasks whose key is null in every call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celeriac.display import length, safe
from celeriac.ledger.reads import unique_keys
from celeriac.ledger.reads.unique_keys import OpenWriter
from celeriac.limits.unique import Rule
from celeriac.limits.unique_key import KeyMaker
from celeriac.operate.doctor.finding import Area, Finding, ok, warn

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from celeriac.application import Celeriac

#: Seconds; calls with a key that a transaction has written are refused after less.
_LONG = 5.0

#: Transactions that are told; the last jobs of a task that are looked at, and how many are needed to judge.
_TOLD, _LAST, _ENOUGH = 5, 50, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NullKey:
    """A task whose last jobs all have null for each argument of their key."""

    task: str
    option: str  # unique, debounce or throttle
    arguments: tuple[str, ...]
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    tasks: int = 0  # that have a rule
    writers: Sequence[OpenWriter] = ()
    null_keys: Sequence[NullKey] = ()


def read(app: Celeriac) -> Facts:
    rules: dict[str, Rule] = {task.name: task._uniqueness for task in app.tasks.values() if task._uniqueness}
    if not rules:
        return Facts()
    with app.database.reading() as connection:
        writers = unique_keys.open_writers(connection, longer=_LONG, most=_TOLD)
        found = [_null_key(connection, *each) for each in sorted(rules.items())]
    return Facts(tasks=len(rules), writers=writers, null_keys=[one for one in found if one is not None])


def _null_key(connection: Connection, task: str, rule: Rule) -> NullKey | None:
    if not rule.args:  # all arguments, or none on purpose
        return None
    key = KeyMaker(task, None, rule).key((), dict.fromkeys(rule.args))
    same, jobs = unique_keys.with_key(connection, task, key, most=_LAST)
    if jobs < _ENOUGH or same < jobs:
        return None
    return NullKey(task=task, option=rule.option, arguments=rule.args, jobs=jobs)


def judge(facts: Facts) -> list[Finding]:
    found = [_busy(writer) for writer in facts.writers]
    found += [_of_null(one) for one in facts.null_keys]
    if found:
        return found
    tasks = f"{facts.tasks} tasks" if facts.tasks != 1 else "1 task"
    said = f"{tasks} with unique keys, none of them kept busy" if facts.tasks else "no task has unique keys"
    return [ok(Area.LEDGER, "unique", said)]


def _busy(writer: OpenWriter) -> Finding:
    who = f"a transaction of {safe(writer.application, length=60) or 'a program without a name'}"
    does = "waits for its program" if writer.idle else "is at work"
    waits = f"; {writer.blocks} sessions wait for it now" if writer.blocks else ""
    return warn(
        Area.LEDGER,
        "unique",
        f"{who} (pid {writer.pid}) has written jobs, is open for {length(writer.age)} and {does}: calls with "
        f"the unique keys that it has written wait for it, and are refused as KeyBusy{waits}",
        remedy=f"commit sooner after the enqueue; to end it: SELECT pg_terminate_backend({writer.pid})",
    )


def _of_null(one: NullKey) -> Finding:
    arguments = ", ".join(one.arguments)
    return warn(
        Area.LEDGER,
        "unique",
        f"the last {one.jobs} jobs of {one.task} had null for {arguments}, of which its {one.option} makes "
        "the key: all such calls are one job",
        remedy=f"pass {arguments}, or name other arguments in args=",
    )
