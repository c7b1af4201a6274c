"""The beat: redbeat's lock decides who leads, the schedules table decides what is due.

Only one beat leads to save work; firing is safe whoever does it. So a beat that cannot reach the lock fires
from the table and misses no due time. A lost lock is requested again.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

from redbeat import RedBeatScheduler
from redbeat.schedulers import get_redis
from redis.exceptions import LockError, RedisError

from celeriac.events import Event
from celeriac.ledger.connection.database import UNREACHABLE
from celeriac.ledger.writes import schedule_rows as ledger
from celeriac.observe import probes
from celeriac.observe.liveness import LivenessReporter
from celeriac.observe.probes import ProbeServer
from celeriac.schedules import static_schedules
from celeriac.schedules.firing import BATCH, DAMAGED, fire_due
from celeriac.schedules.redbeat_entries import EntriesThread
from celeriac.settings.conf import Stage

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

_REDIS_PAUSE = 2.0  # seconds that a Redis which does not answer is left alone
_LONGEST_PAUSE = 5.0  # seconds between two tries of a database that does not answer
_LOCKED_PAUSE = 0.2  # seconds until rows that another beat has locked are read again
_TAKEOVER_AFTER = 3.0  # seconds that a leader may be late before another beat fires in its place
_DAMAGED_PAUSE = 60.0  # seconds that a schedule which cannot be fired is left alone


class Scheduler(RedBeatScheduler):
    """``celery -A app beat``; any number of them may run."""

    app: Celeriac
    lock_key: str | None
    max_interval: float

    def __init__(self, app: Celeriac, **options: Any) -> None:
        app.check_configuration()
        if not options.get("lazy"):
            app.stage = Stage.RUNS  # what it has read, a later write to ``conf`` cannot change
        self._synced = self._closed = False
        self._ask_lock_at = 0.0
        self._failures = 0
        self._damaged: dict[str, float] = {}
        self._entries_thread: EntriesThread | None = None
        self._liveness = LivenessReporter("beat", app.settings)
        self._probes: ProbeServer | None = None
        super().__init__(app, **options)
        # A beat that sleeps longer has lost the lock when it wakes up. This also bounds --max-interval.
        self.max_interval = min(float(self.max_interval), self.lock_timeout / 3)
        # At start redbeat waits for the lock in a signal receiver, where SIGTERM and errors have no effect.
        # Without a key it does not wait. This class asks for the lock at each turn instead.
        self._key: str | None = app.redbeat_conf.lock_key
        if not options.get("lazy"):
            self.lock_key = None

    def setup_schedule(self) -> None:
        """Write static schedules to the table, not to Redis; in a later turn if the database is down."""
        self._with_pause_after_errors(self._sync)

    def tick(self, *_: Any, **__: Any) -> float:
        """Take one turn, if this beat leads; return the seconds until the next one.

        Raises:
            SystemExit: it was closed. Celery's SIGTERM handler closes it and raises this, but Python drops
                an exception that is raised in a callback of the garbage collector.
        """
        if self._closed:
            raise SystemExit
        leads = self._leads()
        self._start_threads_once(leads)
        return self._with_pause_after_errors(self._turn if leads else self._fire_in_leaders_place)

    def close(self) -> None:
        self._closed = True
        self.app.stage = Stage.NONE
        if self._entries_thread is not None:
            self._entries_thread.stop()
            self._liveness.stop()
        if self._probes is not None:
            self._probes.stop()
        try:
            super().close()
        except (RedisError, OSError) as exc:
            logger.warning(Event.LOCK_LEFT, {"error": repr(exc)})
            self.lock = None
            super().close()

    def _turn(self) -> float:
        """Fire what is due; return the seconds until more is due."""
        if not self._synced:
            self._sync()
        if (wait := self._due_in()) > 0:
            return min(wait, self.max_interval)
        return 0.0 if self._fire() else _LOCKED_PAUSE

    def _fire_in_leaders_place(self) -> float:
        """Fire what the leader should have fired: it may be dead while its lock has not expired yet."""
        if self._due_in() <= -_TAKEOVER_AFTER:
            self._fire()
        return self.max_interval

    def _due_in(self) -> float:
        """Seconds until the first due time; negative when it has passed."""
        with self.app.database.reading() as connection:
            clock, first = ledger.next_due(connection, but=self._damaged_names())
        return math.inf if first is None else (first - clock).total_seconds()

    def _damaged_names(self) -> list[str]:
        now = time.monotonic()
        self._damaged = {name: until for name, until in self._damaged.items() if until > now}
        return sorted(self._damaged)

    def _fire(self) -> bool:
        """Fire a batch. False when all rows that are due are locked by another beat."""
        but = self._damaged_names()
        try:
            turn = fire_due(self.app, but=but)
        except UNREACHABLE:
            raise
        except Exception:  # one bad row must not stop the others: fire them one by one
            logger.exception(Event.ONE_BY_ONE, {"schedules": BATCH})
            self._fire_one_by_one(but)
            return True
        self._pause_damaged(turn.damaged)
        if turn.jobs:
            logger.info(Event.SCHEDULES_FIRED, {"schedules": turn.found, "jobs": len(turn.jobs)})
        return turn.found > 0

    def _fire_one_by_one(self, but: list[str]) -> None:
        with self.app.database.reading() as connection:
            rows = ledger.due(connection, ledger.clock(connection), limit=BATCH, but=but)
        for row in rows:
            try:
                self._pause_damaged(fire_due(self.app, only=row.name).damaged)
            except UNREACHABLE:
                raise
            except Exception as exc:  # one bad row must not stop the others: it is skipped for a while
                logger.exception(Event.NOT_FIRED, {"schedule": row.name})
                self._pause_damaged([row.name])
                with self.app.database.transaction() as connection:
                    ledger.complain(connection, row.name, f"{DAMAGED}: {type(exc).__name__}")

    def _pause_damaged(self, names: Any) -> None:
        until = time.monotonic() + _DAMAGED_PAUSE
        self._damaged |= dict.fromkeys(names, until)

    def _sync(self) -> float:
        static_schedules.sync(self.app)
        self._synced = True
        return 0.0

    def _with_pause_after_errors(self, step: Any) -> float:
        """Run ``step``; return its seconds until the next turn, or a growing pause after an error."""
        try:
            seconds: float = step()
            self._failures = 0
            self._liveness.ledger_answered()
            return seconds
        except Exception as exc:  # the outermost loop of beat: it must survive every database error
            self._failures += 1
            pause = min(2.0 ** (self._failures - 2), _LONGEST_PAUSE)
            known = isinstance(exc, UNREACHABLE)
            logger.error(Event.NO_TURN, {"pause": pause, "error": repr(exc)}, exc_info=not known)
            return pause

    def _leads(self) -> bool:
        """Whether this beat fires: it holds the lock, or the lock cannot be reached."""
        if not self._key or time.monotonic() < self._ask_lock_at:
            return True
        try:
            return self._extend() or self._acquire()
        except (RedisError, OSError) as exc:
            logger.warning(Event.LOCK_UNREACHABLE, {"error": repr(exc)})
            self._ask_lock_at = time.monotonic() + _REDIS_PAUSE
            return True

    def _extend(self) -> bool:
        if self.lock is None:
            return False
        try:
            return bool(self.lock.extend(int(self.lock_timeout), replace_ttl=True))
        except LockError:
            logger.warning(Event.LOCK_LOST)
            self.lock = None
            return False

    def _acquire(self) -> bool:
        lock = get_redis(self.app).lock(self._key, timeout=self.lock_timeout, blocking=False)
        if not lock.acquire():
            return False
        logger.info(Event.LOCK_ACQUIRED)
        self.lock = lock
        return True

    def _start_threads_once(self, leads: bool) -> None:
        """Start the threads at the first turn: by then the process forks no more."""
        if self._entries_thread is None:
            self._entries_thread = EntriesThread(self.app)
            self._entries_thread.start()
            self._liveness.start()
            self._probes = probes.serve(self.app.settings, self._liveness)
        self._liveness.loop_turned()
        self._entries_thread.leads = leads
