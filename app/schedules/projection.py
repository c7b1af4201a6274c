"""The entries in Redis: a projection of the table, for redbeat and for what reads redbeat's keys.

Nothing is fired from here. What differs is written every few seconds; all of it when Redis has lost it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from celery.schedules import crontab, schedule
from redbeat.decoder import RedBeatJSONEncoder
from redbeat.schedulers import RedBeatSchedulerEntry, get_redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.ledger import schedules as ledger
from app.schedules import cron
from app.schedules.definition import Schedule, of_row
from app.schedules.times import Kind

if TYPE_CHECKING:
    from app.application import Celeriac

logger = logging.getLogger(__name__)

EVERY = 3.0  # seconds between two looks
_BATCH = 500
_NOT_DUE = -1  # a score that redbeat leaves alone


class Projection:
    """What this process has written to Redis, and what is still to be written."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._client = get_redis(app)
        self._due_key = app.redbeat_conf.schedule_key
        self._names_key = f"{app.redbeat_conf.key_prefix}:projected"
        self._written: dict[str, datetime] = {}

    def refresh(self) -> int:
        """Write what has changed since the last call; return how many entries were touched."""
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
        """The names that are in Redis, or should be: those of an earlier process included."""
        if self._written:
            return set(self._written)
        return set(self._client.smembers(self._names_key))

    def _write(self, names: Sequence[str]) -> None:
        with self._app.database.reading() as connection:
            rows = ledger.some(connection, names)
        with self._client.pipeline(transaction=False) as pipe:
            for row in rows:
                try:
                    self._put(pipe, of_row(row))
                except Exception as exc:  # a damaged row must not keep the others out
                    logger.error("schedule %r has no entry in Redis: %s", row.name, exc)
                pipe.sadd(self._names_key, row.name)
            pipe.execute()
        self._written |= {row.name: row.changed for row in rows}

    def _put(self, pipe: Any, found: Schedule) -> None:
        key = RedBeatSchedulerEntry.generate_key(self._app, found.name)
        pipe.hset(key, mapping={"definition": definition(found), "meta": meta(found)})
        pipe.zadd(self._due_key, {key: found.next_run.timestamp() if found.next_run else _NOT_DUE})

    def _erase(self, names: Sequence[str]) -> None:
        keys = [RedBeatSchedulerEntry.generate_key(self._app, name) for name in names]
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zrem(self._due_key, *keys)
            pipe.delete(*keys)
            pipe.srem(self._names_key, *names)
            pipe.execute()
        for name in names:
            self._written.pop(name, None)


class Projector(threading.Thread):
    """Keeps the projection up to date while this process leads; Redis may be away meanwhile."""

    def __init__(self, app: Celeriac) -> None:
        super().__init__(name="celeriac-projection", daemon=True)
        self._projection = Projection(app)
        self._ended = threading.Event()
        self.leads = False

    def run(self) -> None:
        while not self._ended.wait(EVERY):
            if self.leads:
                self._refresh()

    def stop(self) -> None:
        self._ended.set()

    def _refresh(self) -> None:
        try:
            self._projection.refresh()
        except (RedisError, SQLAlchemyError, OSError) as exc:
            logger.debug("entries in Redis are not up to date: %r", exc)
        except Exception:  # the thread must live: nothing else would write the entries
            logger.exception("entries in Redis are not up to date")


def definition(found: Schedule) -> str:
    """The entry as redbeat reads it, as near as redbeat's own kinds of schedule come."""
    told = {
        "name": found.name,
        "task": found.task,
        "args": found.args,
        "kwargs": found.kwargs,
        "options": found.options,
        "schedule": _celerys(found),
        "enabled": found.enabled,
    }
    return json.dumps(told, cls=_Encoder)


def meta(found: Schedule) -> str:
    return json.dumps(
        {"last_run_at": found.last_run, "total_run_count": found.run_count}, cls=RedBeatJSONEncoder
    )


class _Encoder(RedBeatJSONEncoder):
    """With arguments that JSON does not know as text: they are for people to read."""

    def default(self, obj: Any) -> Any:
        try:
            return super().default(obj)
        except TypeError:
            return str(obj)


def _celerys(found: Schedule) -> Any:
    if found.kind is Kind.INTERVAL:
        return schedule(timedelta(seconds=float(found.expression)))
    if found.kind is Kind.CRON:
        try:
            return crontab(*cron.parse(found.expression).fields.split())
        except ValueError:  # which Celery cannot read: the score says when it is due
            pass
    return schedule(timedelta(days=1))


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    left = iter(names)
    while batch := list(islice(left, _BATCH)):
        yield batch
