"""A ledger that is divided by days: its partitions, its keys, its prune, the way there and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from sqlalchemy import Connection, func, insert, make_url, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from celeriac import Celeriac, retention
from celeriac.errors import SettingsError
from celeriac.ids import new_uuid
from celeriac.ledger import migrate
from celeriac.ledger.connection.database import Database
from celeriac.ledger.days import ahead, convert
from celeriac.ledger.days import prune as days_prune
from celeriac.ledger.days.retire import MOST, Ages
from celeriac.ledger.partitions.layout import AHEAD, NO_DAY, REST, Day, days, is_divided
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.writes.new_jobs import enqueue
from celeriac.operate.doctor import Level
from celeriac.operate.doctor.partitions import days_check
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import build
from tests.commands import call
from tests.new_jobs import new_job

DAY = timedelta(days=1)
AGES = Ages(done=7 * DAY, dead=30 * DAY)


@pytest.fixture
def url(bare_postgres_url: str) -> str:
    """Of a new ledger, which is divided."""
    migrate.upgrade(bare_postgres_url, by_day=True)
    return bare_postgres_url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(Database(make_url(url))) as made:
        yield made


def id_of(moment: datetime, number: int = 0) -> UUID:
    """An id of version 7 of that moment."""
    return UUID(int=(int(moment.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62) + number)


def ended(moment: datetime, number: int = 0, **values: Any) -> dict[str, Any]:
    """The row of a job that was accepted and ended then, unless ``values`` say more."""
    return stock.job(id=id_of(moment, number), queued=moment, last_worker_id=None, **values)


def write(database: Database, *rows: dict[str, Any]) -> None:
    with database.transaction() as connection:
        connection.execute(insert(JOBS), list(rows))


def places(database: Database) -> dict[UUID, str]:
    """In which partition each job is."""
    with database.reading() as connection:
        found = connection.execute(text("SELECT id, tableoid::regclass::text FROM background_jobs"))
        return {row[0]: row[1] for row in found}


def partitions(database: Database) -> list[Day]:
    with database.reading() as connection:
        return days(connection)


def held(database: Database) -> dict[str, UUID]:
    with database.reading() as connection:
        return {
            row[0]: row[1] for row in connection.execute(text("SELECT key, job FROM background_held_keys"))
        }


def remove(database: Database, day: Day) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql(f"ALTER TABLE background_jobs DETACH PARTITION {day.name}")
        connection.exec_driver_sql(f"DROP TABLE {day.name}")


# ---- what is made


def test_a_new_ledger_has_a_partition_for_today_and_each_of_the_coming_days(database: Database) -> None:
    today = Day.of(datetime.now(UTC))
    wanted = [today]
    while len(wanted) <= AHEAD:
        wanted.append(wanted[-1].next)
    assert partitions(database) == wanted
    assert migrate.check(database) == []


def test_without_the_setting_the_table_is_plain(postgres_url: str) -> None:
    with closing(Database(make_url(postgres_url))) as database:
        with database.reading() as connection:
            assert not is_divided(connection)
            assert connection.execute(text("SELECT to_regclass('background_held_keys')")).scalar() is None
        assert days_check.judge(days_check.Facts(wanted=False, divided=False, missing=0, strays=0)) == []


def test_a_ledger_with_jobs_is_not_divided_by_an_upgrade(bare_postgres_url: str) -> None:
    migrate.upgrade(bare_postgres_url)
    with closing(Database(make_url(bare_postgres_url))) as database:
        write(database, ended(datetime.now(UTC)))
        migrate.upgrade(bare_postgres_url, by_day=True)
        assert partitions(database) == []


def test_a_job_is_in_the_partition_of_its_day(database: Database) -> None:
    now = datetime.now(UTC)
    coming, gone = id_of(now + 30 * DAY), id_of(now - 30 * DAY)
    without = next(id for n in range(100) if (id := uuid5(UUID(int=0), str(n))).int >> 120 > 0x10)
    today = new_uuid()
    with database.transaction() as connection:
        assert enqueue(connection, [new_job(id=id) for id in (today, coming, gone, without)]) == 4
    assert places(database) == {
        today: Day.of(now).name,
        coming: REST,  # no partition yet, and no job is refused because of it
        gone: REST,
        without: NO_DAY,
    }


# ---- the coming days


def test_what_is_missing_is_made_and_takes_its_rows_out_of_the_default_partition(database: Database) -> None:
    day = Day.of(datetime.now(UTC)).next.next
    remove(database, day)
    stray = ended(day.begins + timedelta(hours=1), state="failed", unique_key="k", unique_while="active")
    write(database, stray)
    with database.transaction() as connection:
        connection.execute(insert(FAILURES), [stock.failure(stray)])
    assert places(database) == {stray["id"]: REST}
    assert ahead.make_missing(database) == 1
    assert places(database) == {stray["id"]: day.name}
    with database.reading() as connection:
        assert connection.execute(select(FAILURES.c.job_id)).scalars().all() == [stray["id"]]
        assert ahead.missing(connection) == []
    assert ahead.make_missing(database) == 0


def test_many_rows_of_a_coming_day_are_not_moved(database: Database) -> None:
    day = Day.of(datetime.now(UTC)).next
    remove(database, day)
    write(database, *(ended(day.begins, number) for number in range(1001)))
    assert ahead.make_missing(database) == 0
    facts = days_check.Facts(wanted=True, divided=True, missing=1, strays=1000)
    assert [one.level for one in days_check.judge(facts)] == [Level.WARN]
    assert day not in partitions(database)


def test_a_job_that_moves_keeps_its_key(database: Database) -> None:
    day = Day.of(datetime.now(UTC)).next
    remove(database, day)
    waiting = stock.pending(id=id_of(day.begins), unique_key="k", unique_while="active")
    write(database, waiting)
    ahead.make_missing(database)
    assert held(database) == {"k": waiting["id"]}


# ---- prune


def old_day(database: Database, *, ago: int = 9) -> Day:
    """The partition of a day that is over for long."""
    day = Day.of(datetime.now(UTC) - ago * DAY)
    with database.transaction() as connection:
        assert ahead.make_ahead(connection, day)
    return day


def test_a_day_that_is_old_enough_is_dropped(database: Database) -> None:
    day = old_day(database)
    write(database, *(ended(day.begins, number) for number in range(5)), ended(datetime.now(UTC)))
    failed = ended(day.begins, 9, state="completed", try_count=2)
    write(database, failed)
    with database.transaction() as connection:
        connection.execute(insert(FAILURES), [stock.failure(failed)])
    assert days_prune.drop_old_days(database, AGES) == {JobState.COMPLETED: 6}
    assert day not in partitions(database)
    assert len(places(database)) == 1


def test_a_younger_day_stays(database: Database) -> None:
    day = old_day(database, ago=7)
    write(database, ended(day.begins))
    assert days_prune.drop_old_days(database, AGES) == {}
    assert day in partitions(database)


def test_what_must_stay_of_a_day_is_moved_with_its_attempts_and_its_key(database: Database) -> None:
    day = old_day(database)
    dead = ended(day.begins, 1, state="failed")
    late = ended(day.begins, 2) | {"finished": datetime.now(UTC)}
    kept = ended(day.begins, 3, job_type="mail.kept")
    waiting = stock.pending(id=id_of(day.begins, 4), unique_key="k", unique_while="active")
    write(database, dead, late, kept)
    write(database, waiting)
    write(database, ended(day.begins, 5))
    with database.transaction() as connection:
        connection.execute(insert(FAILURES), [stock.failure(dead)])
    ages = Ages(done=7 * DAY, dead=30 * DAY, tasks={"mail.kept": 100 * DAY})
    assert days_prune.drop_old_days(database, ages) == {JobState.COMPLETED: 1}
    assert places(database) == dict.fromkeys((row["id"] for row in (dead, late, kept, waiting)), REST)
    assert held(database) == {"k": waiting["id"]}
    with database.reading() as connection:
        assert connection.execute(select(FAILURES.c.job_id)).scalars().all() == [dead["id"]]


def test_a_job_that_is_brought_back_meanwhile_stays(database: Database) -> None:
    from celeriac.ledger.days import retire

    day = old_day(database)
    row = ended(day.begins, state="cancelled")
    write(database, row)
    with database.transaction() as connection:
        seen = retire.look(connection, day, AGES)
    assert seen is not None
    assert seen.gone == {JobState.CANCELLED: 1}
    with database.transaction() as connection:
        connection.execute(update(JOBS).values(state="pending", finished=None))
    with database.transaction() as connection:
        retire.drop(connection, day, seen)
    assert places(database) == {row["id"]: REST}


def test_a_day_of_which_much_must_stay_is_pruned_row_by_row(
    redis_url: str, url: str, database: Database
) -> None:
    day = old_day(database)
    write(database, *(ended(day.begins, number, state="failed") for number in range(MOST + 1)))
    write(database, ended(day.begins, MOST + 2))
    settings: dict[str, Any] = {"broker_url": redis_url, "database_url": url}
    app = build(Settings(**settings), set_as_current=False)
    with closing(app.database):
        gone = retention.prune(app=app)
    assert (gone[JobState.COMPLETED], gone[JobState.FAILED]) == (1, 0)
    assert day in partitions(database)
    assert len(places(database)) == MOST + 1


# ---- keys


def test_no_write_gives_two_jobs_one_key(database: Database) -> None:
    first, second = (stock.pending(unique_key="k", unique_while="waiting") for _ in range(2))
    write(database, first)
    write(database, second | {"unique_key": None})
    with pytest.raises(IntegrityError), database.transaction() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == second["id"]).values(unique_key="k"))
    with database.transaction() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == first["id"]).values(last_worker_id=UUID(int=1)))
        connection.execute(update(JOBS).where(JOBS.c.id == second["id"]).values(unique_key="k"))
    assert held(database) == {"k": second["id"]}
    with database.transaction() as connection:
        connection.execute(JOBS.delete())
    assert held(database) == {}


def test_who_finds_a_key_taken_does_not_hold_up_the_end_of_its_job(database: Database) -> None:
    first, second = (stock.pending(unique_key="k", unique_while="active") for _ in range(2))
    write(database, first)
    with database.transaction() as open_for_long:
        open_for_long.execute(postgresql.insert(JOBS).values(second).on_conflict_do_nothing())
        with database.transaction() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            connection.execute(update(JOBS).values(state="cancelled", finished=func.now()))
    assert held(database) == {}
    assert set(places(database)) == {first["id"]}


def test_a_key_that_nobody_holds_is_free(database: Database) -> None:
    """Left behind by a row that another one of its id kept out, in the same moment."""
    with database.transaction() as connection:
        connection.execute(text("INSERT INTO background_held_keys VALUES ('k', gen_random_uuid())"))
    row = stock.pending(unique_key="k", unique_while="active")
    write(database, row)
    assert held(database) == {"k": row["id"]}


def test_a_job_without_a_key_writes_none(database: Database) -> None:
    def written(connection: Connection) -> int:
        count = "SELECT coalesce(sum(calls), 0) FROM pg_stat_xact_user_functions"
        return int(connection.execute(text(count)).scalar_one())

    with database.transaction() as connection:
        connection.execute(text("SET LOCAL track_functions = 'all'"))
        enqueue(connection, [new_job()])
        connection.execute(update(JOBS).values(last_worker_id=UUID(int=1)))
        assert written(connection) == 0
        connection.execute(update(JOBS).values(unique_key="k", unique_while="active"))
        assert written(connection) > 0


# ---- there and back


def test_a_ledger_in_use_is_divided_and_united_again(bare_postgres_url: str) -> None:
    migrate.upgrade(bare_postgres_url, post=True)
    now = datetime.now(UTC)
    with closing(Database(make_url(bare_postgres_url))) as database:
        dead, old = ended(now, state="failed"), ended(now - 3 * DAY)
        waiting = stock.pending(unique_key="k", unique_while="active")
        write(database, dead, old)
        write(database, waiting)
        with database.transaction() as connection:
            connection.execute(insert(FAILURES), [stock.failure(dead)])
        before = _content(database)
        assert convert.divide(make_url(bare_postgres_url))
        assert not convert.divide(make_url(bare_postgres_url))
        assert (_content(database), migrate.check(database)) == (before, [])
        assert places(database)[old["id"]] == Day.of(now - 3 * DAY).name
        assert held(database) == {"k": waiting["id"]}
        assert convert.unite(make_url(bare_postgres_url))
        assert not convert.unite(make_url(bare_postgres_url))
        assert (_content(database), migrate.check(database), partitions(database)) == (before, [], [])
        with pytest.raises(IntegrityError):
            write(database, stock.pending(unique_key="k", unique_while="active"))


def test_indexes_of_migrations_are_made_and_dropped_over_partitions(url: str, database: Database) -> None:
    head = migrate.upgrade(url, post=True, by_day=True)
    while migrate.current(database) != "0027":
        migrate.downgrade(url)
    with database.reading() as connection:
        assert _valid(connection, "background_jobs_dead") is None
    assert migrate.upgrade(url, post=True) == head
    with database.reading() as connection:
        assert _valid(connection, "background_jobs_dead") is True
    assert migrate.check(database) == []


def test_sqlite_has_no_partitions(tmp_path: Path) -> None:
    app = Celeriac(
        "file", ledger=f"sqlite:///{tmp_path}/x.db", celeriac_partition="day", set_as_current=False
    )
    with pytest.raises(SettingsError, match="CELERIAC_PARTITION is for PostgreSQL"):
        _ = app.settings


def _valid(connection: Connection, name: str) -> bool | None:
    found = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    valid: bool | None = connection.execute(found, {"name": name}).scalar()
    return valid


def _content(database: Database) -> list[Any]:
    with database.reading() as connection:
        jobs = connection.execute(select(func.to_jsonb(text("j.*"))).select_from(text("background_jobs j")))
        attempts = connection.execute(select(FAILURES.c.job_id, FAILURES.c.attempt))
        return [sorted(map(str, jobs.scalars())), attempts.all()]


def test_the_command_divides_a_ledger_and_unites_it(redis_url: str, postgres_url: str) -> None:
    migrate.upgrade(postgres_url, post=True)
    settings: dict[str, Any] = {"broker_url": redis_url, "database_url": postgres_url}
    app = build(Settings(**settings), set_as_current=False)
    with closing(app.database):
        assert "is divided by days" in call(app, "db", "partition", "--yes").stdout
        assert "already" in call(app, "db", "partition", "--yes").stdout
        assert json.loads(call(app, "db", "check", "--json").stdout)["differences"] == []
        assert "one plain table" in call(app, "db", "partition", "--undo", "--yes").stdout


def test_the_command_refuses_sqlite(redis_url: str, sqlite_url: str) -> None:
    settings: dict[str, Any] = {"broker_url": redis_url, "database_url": sqlite_url}
    app = build(Settings(**settings), set_as_current=False)
    with closing(app.database):
        refused = call(app, "db", "partition", "--yes")
    assert (refused.exit_code, "SQLite has no partitions" in refused.stderr) == (1, True)
