"""The entries that redbeat has written to Redis, read and switched with redbeat's own classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celery import Celery
from redbeat.schedulers import RedBeatSchedulerEntry, ensure_conf, get_redis
from redis.exceptions import RedisError

from celeriac.errors import BadArgument
from celeriac.operate.schedule_import.beat_config import aware, old_entry
from celeriac.operate.schedule_import.old_entry import OldEntry
from celeriac.schedules.redbeat_entries import key_of

if TYPE_CHECKING:
    from celeriac.application import Celeriac


class RedbeatKeys:
    """Redbeat's keys.

    Args:
        url: of the Redis that has them; that of the broker unless it is given.
        prefix: of the keys, what ``redbeat_key_prefix`` was.
    """

    def __init__(self, app: Celeriac, *, url: str | None = None, prefix: str = "redbeat:") -> None:
        self._app = app
        # Redbeat reads where its keys are from an app; ours has its own projection there.
        self._owner = Celery("redbeat", broker=url or app.settings.schedules_store, set_as_current=False)
        self._owner.conf.update(
            redbeat_redis_url=url or app.settings.schedules_store,
            redbeat_redis_options={"socket_timeout": 5.0, "socket_connect_timeout": 5.0},
            redbeat_key_prefix=prefix,
            timezone=app.conf.timezone,
        )
        ensure_conf(self._owner)

    def read(self) -> Sequence[OldEntry]:
        configured = self._app.conf.beat_schedule or {}
        try:
            keys = get_redis(self._owner).zrange(self._owner.redbeat_conf.schedule_key, 0, -1)
            return [self._entry(key, configured) for key in sorted(keys)]
        except (RedisError, OSError) as exc:
            raise BadArgument("redis-url", f"redbeat's keys cannot be read: {exc}") from None

    def switch(self, entry: OldEntry) -> None:
        kept = RedBeatSchedulerEntry.from_key(self._key(entry.name), app=self._owner)
        kept.enabled = entry.enabled
        if entry.last_run is not None and entry.last_run != aware(kept.last_run_at):
            kept.reschedule(last_run_at=entry.last_run)
        kept.save()

    def _key(self, name: str) -> str:
        return key_of(self._owner, name)

    def _entry(self, key: str, configured: Any) -> OldEntry:
        name = key.removeprefix(self._owner.redbeat_conf.key_prefix)
        try:
            kept = RedBeatSchedulerEntry.from_key(key, app=self._owner)
        except (KeyError, ValueError, TypeError) as exc:
            return OldEntry(name=name, task="", problem=f"its definition cannot be read: {exc!r}")
        found = old_entry(name, configured.get(name, kept))
        last_run: datetime | None = aware(kept.last_run_at)
        count = int(kept.total_run_count or 0)
        found = replace(found, enabled=bool(kept.enabled), last_run=last_run, run_count=count)
        if name in configured or found.wanted is None:
            return found
        return replace(found, wanted=replace(found.wanted, static=False))
