"""Whether a beat leads and ticks, and whether redbeat's entries are in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from redbeat.schedulers import RedBeatConfig, get_redis

from celeriac.display import counted
from celeriac.ledger.writes import schedule_rows as ledger
from celeriac.operate.doctor.finding import Area, Finding, fail, ok, warn
from celeriac.schedules.redbeat_entries import names_key

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_LATE = 3.0  # seconds without a tick, of a leader that ticks every second


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    schedules: int  # that have a due time to come
    lock_left: float | None  # seconds until the leader's lock expires; None: nobody leads
    lock_timeout: float  # seconds for which each tick of the leader takes the lock
    projected: bool  # whether the entries are in Redis


def read(app: Celeriac) -> Facts:
    """Ask Redis for the lock.

    Raises:
        RedisError: it cannot be reached.
    """
    config, client = RedBeatConfig(app), get_redis(app)
    with app.database.reading() as connection:
        coming = sum(row.next_run is not None for row in ledger.page(connection))
    left = client.pttl(config.lock_key)
    return Facts(
        schedules=coming,
        lock_left=left / 1000 if left >= 0 else None,
        lock_timeout=float(config.lock_timeout),
        projected=bool(client.exists(names_key(app))),
    )


def judge(facts: Facts) -> list[Finding]:
    if facts.lock_left is None:
        return [_nobody(facts)]
    silent = max(0.0, facts.lock_timeout - facts.lock_left)
    return [_ticks(silent), _projection(facts)]


def _nobody(facts: Facts) -> Finding:
    if facts.schedules:
        waiting = counted(facts.schedules, "schedule")
        fires = "does not fire" if facts.schedules == 1 else "do not fire"
        sentence = f"no beat leads: {waiting} with due times to come {fires}"
        return fail(Area.BEAT, "leader", sentence, remedy="celery -A app beat")
    sentence = "no beat leads, and no schedule needs one"
    return warn(Area.BEAT, "leader", sentence, remedy="celery -A app beat, before schedules are added")


def _ticks(silent: float) -> Finding:
    sentence = f"a beat leads, its last tick was {silent:.1f} s ago"
    if silent > _LATE:
        remedy = "another takes over within seconds, if you run two; see the log of this one"
        return warn(Area.BEAT, "leader", sentence, remedy=remedy)
    return ok(Area.BEAT, "leader", sentence)


def _projection(facts: Facts) -> Finding:
    if facts.schedules and not facts.projected:
        sentence = "redbeat's entries are not in Redis; what is due is fired from the table all the same"
        return warn(Area.BEAT, "projection", sentence, remedy="see the leader's log if this stays so")
    return ok(Area.BEAT, "projection", "redbeat's view of the table is in Redis")
