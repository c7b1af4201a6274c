"""Starts of a rate: planned when a job is admitted, and allowed by the claim, whatever piled up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import event, make_url, update
from sqlalchemy.exc import OperationalError

from celeriac import Limit
from celeriac.application import Celeriac
from celeriac.ids import new_uuid
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.pipeline import Pipeline
from celeriac.ledger.limits import admission, limit_rows, lines, starts
from celeriac.ledger.limits.marking import TimedMessage
from celeriac.ledger.limits.starts import Started
from celeriac.ledger.schema.columns import after
from celeriac.ledger.schema.models import JOBS
from celeriac.settings.platform import Settings
from celeriac.testing import Kit, new_ledger
from celeriac.worker.attempt_report import Freed
from celeriac.worker.duties.admitter import Admitter
from celeriac.worker.gate.paced_claims import PacedClaims
from tests.apps import build
from tests.limits_by_hand import ME, ByHand
from tests.support import wait_until


class Paced(ByHand):
    def __init__(self, app: Celeriac) -> None:
        super().__init__(app)

        @app.task(name="ping", limit=Limit("pings", rate="10/s", burst=1), shared=False)
        def ping() -> None: ...

        @app.task(name="once", limit=Limit("hourly", rate="1/h"), shared=False)
        def once() -> None: ...

        self.ping, self.once, self.names = ping, once, ("ping", "once")

    def start(self, *ids: str, dispatch: int = 1) -> Started:
        with self.database.transaction() as connection:
            return starts.claim(connection, {UUID(id): dispatch for id in ids}, worker=ME)

    def admitted(self) -> list[str]:
        self.look()
        return self.admit()

    def sent(self, seconds: float) -> None:
        """What was sent so many seconds from now, and has not begun."""
        mine = update(JOBS).where(JOBS.c.dispatched.is_not(None), JOBS.c.worker_id.is_(None))
        with self.database.transaction() as connection:
            connection.execute(mine.values(dispatched=after(seconds)))
            connection.execute(update(lines.LINES).values(due=after(-1)))

    def pile(self, *ids: str) -> None:
        """These have arrived at a worker that was frozen, for longer than the rate asks for."""
        self.look()
        with self.database.transaction() as connection:
            connection.execute(update(JOBS).values(dispatched=after(-60), dispatch_count=1))


@pytest.fixture
def paced(redis_url: str, database_url: str) -> Iterator[Paced]:
    settings = Settings(database_url=SecretStr(database_url), broker_url=SecretStr(redis_url))
    with closing(build(settings, set_as_current=False)) as app:
        made = Paced(app)
        made.declare()
        yield made


def test_starts_are_planned_at_the_rate_and_told_to_the_worker(paced: Paced) -> None:
    given = [paced.ping.delay().id for _ in range(5)]
    paced.look()
    with paced.database.transaction() as connection:
        found = admission.admit(connection, limit_rows.read(connection))
    assert [str(message.id) for message in found] == given[:3], "those of the next 0.2 s"
    first, second, third = (message.start for message in found if isinstance(message, TimedMessage))
    assert (second - first, third - second) == (100_000, 100_000), "microseconds"
    paced.sent(60)
    assert paced.admit_all() == [], "no more while these have not begun"


def test_what_piled_up_starts_at_the_rate(paced: Paced) -> None:
    given = [paced.ping.delay().id for _ in range(4)]
    paced.pile(*given)
    started = paced.start(*given)
    assert [str(id) for id in started.won] == given[:1]
    waits = [started.waits[UUID(id)] for id in given[1:]]
    assert waits == pytest.approx([0.1, 0.2, 0.3], abs=0.05)
    wait_until(lambda: bool(paced.start(given[1]).won), within=10, saying="it is")


def test_a_start_that_is_far_away_puts_a_job_back_into_its_line(paced: Paced) -> None:
    given = [paced.once.delay().id for _ in range(2)]
    paced.pile(*given)
    started = paced.start(*given)
    assert [str(id) for id in started.won] == given[:1]
    assert started.waits == {}
    assert started.freed == {"hourly:"}
    assert paced.used("hourly:") == 1, "only the one that runs"
    assert paced.admit_all() == []


def test_an_old_copy_of_a_message_puts_no_job_back(paced: Paced) -> None:
    given = [paced.once.delay().id for _ in range(2)]
    paced.pile(*given)
    paced.start(given[0])
    assert paced.start(given[1], dispatch=7).freed == set()
    assert paced.used("hourly:") == 2


@pytest.mark.parametrize("shut", ["paused", "resting"])
def test_nothing_starts_that_was_sent_before_a_limit_was_shut(paced: Paced, shut: str) -> None:
    id = paced.ping.delay().id
    assert paced.admitted() == [id]
    with paced.database.transaction() as connection:
        if shut == "paused":
            limit_rows.pause(connection, "pings", who="ann", reason=None)
        else:
            lines.rest(connection, ["pings:"], seconds=60)
    assert paced.start(id).won == {}
    assert paced.used("pings:") == 0
    with paced.database.transaction() as connection:
        limit_rows.resume(connection, "pings")
        connection.execute(update(lines.PERMIT_KEYS).values(rests_until=None))
        connection.execute(update(lines.LINES).values(due=after(-1)))
    wait_until(lambda: paced.admit() == [id], within=10, saying="it goes when it may")


def test_a_limit_that_lost_its_rate_starts_what_was_sent(paced: Paced) -> None:
    given = [paced.ping.delay().id for _ in range(3)]
    paced.pile(*given)
    with paced.database.transaction() as connection:
        limit_rows.change(connection, "pings", rate=None, concurrency=5)
    assert {str(id) for id in paced.start(*given).won} == set(given)


def test_sixteen_who_claim_at_once_start_no_more_than_the_rate_lets(
    redis_url: str, postgres_url: str
) -> None:
    settings = Settings(database_url=SecretStr(postgres_url), broker_url=SecretStr(redis_url))
    with closing(build(settings, set_as_current=False)) as app:
        paced = Paced(app)
        paced.declare()
        given = [paced.once.delay().id for _ in range(16)]
        paced.pile(*given)
        barrier = threading.Barrier(16)

        def one(id: str) -> int:
            with closing(Database(make_url(postgres_url), pool=1)) as database:
                barrier.wait()
                with database.transaction() as connection:
                    return len(starts.claim(connection, {UUID(id): 1}, worker=new_uuid()).won)

        with ThreadPoolExecutor(16) as threads:
            assert sum(threads.map(one, given)) == 1


def test_a_test_that_drains_keeps_a_rate(paced: Paced, tmp_path: Path) -> None:
    with Kit(paced.app, new_ledger(tmp_path / "ledger.db")) as kit:
        given = [paced.once.delay().id for _ in range(3)]
        assert [each.id for each in kit.drain()] == given[:1]


def test_what_a_silent_worker_has_holds_up_no_other(paced: Paced) -> None:
    """The starts of two seconds at most: beyond that, all workers are busy, and no more is sent."""
    for _ in range(40):
        paced.ping.delay()
    assert len(paced.admitted()) == 3
    paced.sent(-1)
    assert len(paced.admit()) == 3, "others take the starts of these"
    admitted = 6
    for _ in range(20):
        paced.sent(-1)
        admitted += len(paced.admit())
    assert 20 < admitted <= 24


def test_who_has_run_jobs_of_a_rate_admits_others_while_the_one_that_looks_is_silent(paced: Paced) -> None:
    one, other = (Admitter(paced.app, paced.database, worker=new_uuid(), limits=()) for _ in range(2))
    one.run()
    id = paced.ping.delay().id
    paced.look()
    other.run()
    assert paced.used("pings:") == 0, "it has nothing to do with them"
    other.ended(Freed(["pings:"]))
    other.run()
    assert paced.start(id).won
    second = paced.ping.delay().id
    paced.look()
    assert other.run() < 0.5, "it looks again soon, of itself"
    wait_until(lambda: bool(other.run() and paced.start(second).won), within=30, saying="it is admitted")


@pytest.mark.parametrize("doing", ["claims", "admits"])
def test_a_worker_that_freezes_with_the_key_gives_it_back(
    redis_url: str, postgres_url: str, doing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database_url=SecretStr(postgres_url), broker_url=SecretStr(redis_url))
    with closing(build(settings, set_as_current=False)) as app, closing(build(settings)) as other:
        paced = Paced(app)
        paced.declare()
        first, second = (paced.once.delay().id for _ in range(2))
        paced.look()
        freezes = _Freezes(other, "background_permit_keys", monkeypatch)
        if doing == "claims":
            assert paced.admit() == [first]
            message: Any = SimpleNamespace(job=UUID(first), dispatch=1, message=None)
            checks: Any = None
            claims = PacedClaims(other.database, worker=ME, checks=checks, on_freed=lambda _: None)
            freezes.start(lambda: claims.claim([message]))
            assert [str(job) for job in paced.start(first).won] == [first]
        else:
            admitter = Admitter(other, other.database, worker=new_uuid(), limits=())
            freezes.start(admitter.run)
            wait_until(lambda: paced.admit() == [first], within=30, saying="another worker admits it")
        assert isinstance(freezes.thaw(), OperationalError)
        assert paced.used("hourly:") == 1, f"{second} waits"


class _Freezes:
    """A thread that stops in the middle of its transaction, when it has locked a row of ``table``."""

    def __init__(self, app: Celeriac, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._locked, self._thawed = threading.Event(), threading.Event()
        self._ended: Future[Any] = Future()
        run = Pipeline.run

        def freeze(text: str) -> None:
            if table in text and "FOR UPDATE" in text:
                self._locked.set()
                self._thawed.wait(60)

        def run_and_freeze(pipeline: Pipeline, commands: Any) -> Any:
            rows = run(pipeline, commands)
            for each in commands:
                freeze(each if isinstance(each, str) else each[0].compiled()[0].decode())
            return rows

        event.listen(app.database.engine, "after_cursor_execute", lambda *given: freeze(given[2]))
        monkeypatch.setattr(Pipeline, "run", run_and_freeze)

    def start(self, work: Callable[[], object]) -> None:
        def run() -> None:
            try:
                self._ended.set_result(work())
            except BaseException as exc:  # it is what the test asks for
                self._ended.set_exception(exc)

        threading.Thread(target=run).start()
        assert self._locked.wait(60)

    def thaw(self) -> BaseException | None:
        self._thawed.set()
        return self._ended.exception(60)
