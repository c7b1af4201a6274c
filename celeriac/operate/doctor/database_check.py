"""The ledger's database: its version, its tables, its clock and its number of connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from celeriac.errors import LedgerTooNew, MigrationNeeded
from celeriac.ledger import migrate
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.reads import health
from celeriac.ledger.reads.health import Server
from celeriac.ledger.upkeep.worker_rows import WorkerSeen
from celeriac.operate import overview
from celeriac.operate.doctor.finding import Area, Finding, fail, ok, warn

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_OLDEST = {"postgresql": (14, 0), "sqlite": (3, 35, 0)}
_NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
_SKEWED, _FAR_OFF = timedelta(seconds=2), timedelta(minutes=1)  # of clocks
_MAIN = 2  # connections of a worker's main process: ledger thread and keeper
_BUSY = 0.8  # of the connections there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    server: Server
    revision: str | None
    wanted: str
    unfit: LedgerTooNew | MigrationNeeded | None = None  # why this version cannot work with the tables
    newer: bool = False  # the tables were made by a newer version, and this one works with them
    skew: timedelta  # this machine's clock, ahead of the database's
    workers: Sequence[WorkerSeen] = ()  # those that live
    pool: int = 5
    schema: str | None = None  # of PostgreSQL, in which the tables are; None: nobody chose one


def read(app: Celeriac) -> Facts:
    with app.database.reading() as connection:
        server = health.server(connection)
        before = datetime.now(UTC)
        theirs = clock(connection)
        skew = before + (datetime.now(UTC) - before) / 2 - theirs
    revision, wanted = migrate.current(app.database), migrate.wanted()
    unfit, newer = None, False
    try:
        newer = migrate.require(app.database) is not None
    except (LedgerTooNew, MigrationNeeded) as exc:
        unfit = exc
    workers = overview.live_workers(app=app) if unfit is None else ()
    pool = app.settings.database_pool
    return Facts(
        server=server,
        revision=revision,
        wanted=wanted,
        unfit=unfit,
        newer=newer,
        skew=skew,
        workers=workers,
        pool=pool,
        schema=app.settings.database_schema,
    )


def judge(facts: Facts) -> list[Finding]:
    found = [_version(facts), _migrations(facts), _clocks(facts)]
    return found if facts.server.most is None else [*found, _budget(facts, facts.server.most)]


def needed(facts: Facts) -> int:
    """The most connections that the live workers may use at once, when each child enqueues."""
    return sum(min(_MAIN, facts.pool) + _of_the_pool(worker, facts.pool) for worker in facts.workers)


def _of_the_pool(worker: WorkerSeen, pool: int) -> int:
    if worker.pool == "prefork":
        return worker.concurrency
    if worker.pool == "burst":
        return worker.concurrency + 1  # its event loop claims through one of its own
    return min(worker.concurrency, max(pool - _MAIN, 0))  # threads share the pool of their process


def _version(facts: Facts) -> Finding:
    server = facts.server
    version = f"{_NAMES[server.dialect]} {'.'.join(map(str, server.version))}"
    oldest = _OLDEST[server.dialect]
    if server.version < oldest:
        sentence = f"{version}, wanted {'.'.join(map(str, oldest))} or newer"
        return fail(Area.DATABASE, "version", sentence, remedy="upgrade the database")
    return ok(Area.DATABASE, "version", version)


def _migrations(facts: Facts) -> Finding:
    tables = "the tables" + (f" of schema {facts.schema}" if facts.schema else "")
    sentence = f"{tables} are at revision {facts.revision or 'none'}, this version wants {facts.wanted}"
    if isinstance(facts.unfit, LedgerTooNew):
        remedy = "run the version that made them, or take it back with that one: celery -A app db downgrade"
        return fail(Area.DATABASE, "migrations", sentence, remedy=remedy)
    if facts.unfit is not None:
        return fail(Area.DATABASE, "migrations", sentence, remedy="celery -A app db upgrade")
    if facts.newer:
        remedy = "roll out the newer version"
        return warn(Area.DATABASE, "migrations", f"{sentence} and works with them", remedy=remedy)
    return ok(Area.DATABASE, "migrations", f"{tables} are at revision {facts.revision}")


def _clocks(facts: Facts) -> Finding:
    seconds = round(facts.skew.total_seconds(), 1) + 0  # a zero without the sign of what was rounded
    sentence = f"this machine's clock is {seconds:+.1f} s from the database's"
    remedy = "let both machines ask the same NTP servers"
    if abs(facts.skew) > _FAR_OFF:
        return fail(
            Area.DATABASE, "clock", f"{sentence}: etas and expiries computed here are off", remedy=remedy
        )
    if abs(facts.skew) > _SKEWED:
        return warn(Area.DATABASE, "clock", sentence, remedy=remedy)
    return ok(Area.DATABASE, "clock", sentence)


def _budget(facts: Facts, most: int) -> Finding:
    wanted, used = needed(facts), facts.server.connections or 0
    sentence = f"{used} of {most} connections are used, the living workers may want {wanted}"
    remedy = "raise max_connections, run fewer children, or put a PgBouncer in front of it"
    if wanted > most or used >= most:
        return fail(Area.DATABASE, "connections", sentence, remedy=remedy)
    if max(wanted, used) > _BUSY * most:
        return warn(Area.DATABASE, "connections", sentence, remedy=remedy)
    return ok(Area.DATABASE, "connections", sentence)
