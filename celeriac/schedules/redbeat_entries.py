"""Redbeat's entries in Redis: a copy of the schedules table, for tools that read redbeat's keys.

Nothing is fired from this copy. What differs is written every few seconds, and all when Redis has lost it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from celery.schedules import crontab, schedule
from redbeat.decoder import RedBeatJSONEncoder
from redbeat.schedulers import RedBeatConfig, get_redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from celeriac.events import Event
from celeriac.ledger.writes import schedule_rows as ledger
from celeriac.schedules import cron
from celeriac.schedules.times import Kind

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

EVERY = 3.0  # seconds between two updates
_BATCH = 500
_NOT_DUE = -1  # a score for which redbeat does nothing


def key_of(app: Any, name: str) -> str:
    """The key of an entry; redbeat's own function for it is of 2.4."""
    return f"{app.redbeat_conf.key_prefix}{name}"


class RedbeatEntries:
    """Writes the entries, and remembers which versions of them it has written."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._client = get_redis(app)
        self._due_key = app.redbeat_conf.schedule_key
        self._names_key = names_key(app)
        self._written: dict[str, datetime] = {}

    def refresh(self) -> int:
        """Write what has changed since the last call; return the number of changed entries."""
        with self._app.database.reading() as connection:
            wanted = ledger.versions(connection)
        if not self._client.exists(self._names_key):
            self._written = {}
        gone = self._known() - wanted.keys()
        changed = [name for name, version in wanted.items() if self._written.get(name) != version]
        for names in _batches(changed):
            self._write(names)
        if gone:
            self._erase(sorted(gone))
        return len(changed) + len(gone)

    def _known(self) -> set[str]:
        """The names that have entries in Redis, those of an earlier process included."""
        if self._written:
            return set(self._written)
        return set(self._client.smembers(self._names_key))

    def _write(self, names: Sequence[str]) -> None:
        with self._app.database.reading() as connection:
            rows = ledger.some(connection, names)
        with self._client.pipeline(transaction=False) as pipe:
            for row in rows:
                try:
                    self._put(pipe, row)
                except Exception as exc:  # a damaged row must not prevent the entries of the others
                    logger.error(Event.NO_ENTRY, {"schedule": row.name, "error": exc})
                pipe.sadd(self._names_key, row.name)
            pipe.execute()
        self._written |= {row.name: row.changed for row in rows}

    def _put(self, pipe: Any, row: Any) -> None:
        key = key_of(self._app, row.name)
        pipe.hset(key, mapping={"definition": definition(row), "meta": meta(row)})
        pipe.zadd(self._due_key, {key: row.next_run.timestamp() if row.next_run else _NOT_DUE})

    def _erase(self, names: Sequence[str]) -> None:
        keys = [key_of(self._app, name) for name in names]
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zrem(self._due_key, *keys)
            pipe.delete(*keys)
            pipe.srem(self._names_key, *names)
            pipe.execute()
        for name in names:
            self._written.pop(name, None)


def names_key(app: Celeriac) -> str:
    """The key of the set with the names of all entries. It is missing when Redis has lost them."""
    return f"{RedBeatConfig(app).key_prefix}:projected"


class EntriesThread(threading.Thread):
    """Updates the entries while this beat leads; Redis may be down meanwhile."""

    def __init__(self, app: Celeriac) -> None:
        super().__init__(name="celeriac-projection", daemon=True)
        self._entries = RedbeatEntries(app)
        self._ended = threading.Event()
        self.leads = False

    def run(self) -> None:
        while not self._ended.wait(EVERY):
            if self.leads:
                self._refresh()

    def stop(self, *, within: float = 5.0) -> None:
        """Stop, and wait up to ``within`` seconds for the current update: no connection is left open."""
        self._ended.set()
        if self.is_alive():
            self.join(within)

    def _refresh(self) -> None:
        try:
            self._entries.refresh()
        except (RedisError, SQLAlchemyError, OSError) as exc:
            logger.debug(Event.ENTRIES_WAIT, {"error": repr(exc)})
        except Exception:  # the thread must live: nothing else writes the entries
            logger.exception(Event.ENTRIES_FAILED)


def definition(row: Any) -> str:
    """The entry as redbeat reads it, with the nearest of redbeat's own kinds of schedule."""
    entry = {
        "name": row.name,
        "task": row.task,
        "args": row.args,
        "kwargs": row.kwargs,
        "options": row.options,
        "schedule": _celery_schedule(Kind(row.kind), row.expression),
        "enabled": row.enabled,
    }
    return json.dumps(entry, cls=RedBeatJSONEncoder)


def meta(row: Any) -> str:
    return json.dumps({"last_run_at": row.last_run, "total_run_count": row.run_count}, cls=RedBeatJSONEncoder)


@lru_cache(maxsize=1024)
def _celery_schedule(kind: Kind, expression: str) -> Any:
    if kind is Kind.INTERVAL:
        return schedule(timedelta(seconds=float(expression)))
    if kind is Kind.CRON:
        try:
            return crontab(*cron.parse(expression).fields.split())
        except ValueError:  # Celery cannot read it: the score has the due time
            pass
    return schedule(timedelta(days=1))


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    left = iter(names)
    while batch := list(islice(left, _BATCH)):
        yield batch
