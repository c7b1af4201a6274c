"""Limits in the ledger: what is admitted, what waits, what gives a permit back; on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, func, make_url, select, update

from celeriac import Limit, RateLimited, enqueue_many
from celeriac.application import Celeriac
from celeriac.errors import BadArgument
from celeriac.ids import new_uuid
from celeriac.ledger.connection.database import Database
from celeriac.ledger.limits import admission, limit_rows, lines
from celeriac.ledger.schema.columns import after
from celeriac.ledger.schema.holding import PauseKind
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.limit_tables import LINES
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep import dispatch, held, lost_messages, pause_rows
from celeriac.ledger.writes import cancel, claims, outcomes, replay
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.operate.actions import list_actions
from celeriac.operate.doctor import Level, pauses_check
from celeriac.operate.job import job
from celeriac.operate.ledger_metrics import LedgerCollector
from celeriac.operate.presentation.timeline import timeline
from celeriac.settings.platform import Settings
from celeriac.testing import Kit, new_ledger
from celeriac.worker.attempt_report import AttemptReport, Freed
from celeriac.worker.duties.admitter import Admitter
from tests.apps import build
from tests.commands import call, told
from tests.limits_by_hand import ME, ByHand
from tests.support import wait_until

_NONE: Sequence[UUID] = ()


class Shop(ByHand):
    """An app with limited tasks, and what keepers and workers do with its jobs, by hand."""

    def __init__(self, app: Celeriac) -> None:
        super().__init__(app)

        @app.task(name="pay", limit=Limit("stripe", concurrency=2), shared=False)
        def pay(order: int = 0) -> int:
            return order

        @app.task(name="export", limit=Limit("tenant", concurrency=1, key="tenant"), shared=False)
        def export(tenant: str) -> str:
            return tenant

        @app.task(name="heavy", limit=Limit("stripe", concurrency=2, weight=2), shared=False)
        def heavy() -> None: ...

        both = [Limit("stripe", concurrency=2), Limit("tenant", concurrency=1, key="tenant")]

        @app.task(name="both", limit=both, shared=False)
        def both_limits(tenant: str) -> None: ...

        @app.task(name="mail", limit=Limit("mails", rate="2/h", burst=2), shared=False)
        def mail() -> None: ...

        self.pay, self.export, self.heavy, self.both, self.mail = pay, export, heavy, both_limits, mail

        self.names = ("pay", "export", "heavy", "both", "mail")


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = build(Settings(database_url=database_url, broker_url=redis_url), set_as_current=False)
    with closing(made):
        yield made


@pytest.fixture
def shop(app: Celeriac) -> Shop:
    made = Shop(app)
    made.declare()
    return made


def ids(count: int, call: Callable[[], Any]) -> list[str]:
    return [call().id for _ in range(count)]


def test_a_job_with_a_limit_waits_in_the_ledger_until_it_is_admitted(shop: Shop) -> None:
    (id,) = ids(1, shop.pay.delay)
    with shop.database.transaction() as connection:
        assert dispatch.levels(connection) == [], "the dispatcher does not see it"
    assert shop.claim(id) == {}, "nor does a message that claims to be its own start it"
    shop.look()
    assert shop.admit() == [id]
    assert shop.claim(id) == {id: 1}


def test_no_more_are_admitted_than_the_limit_has(shop: Shop) -> None:
    given = ids(5, shop.pay.delay)
    shop.look()
    assert shop.admit_all() == given[:2]
    assert shop.used("stripe:") == 2
    shop.claim(*given[:2])
    shop.end(given[0])
    assert shop.admit_all() == [given[2]]


def test_each_key_has_a_limit_of_its_own(shop: Shop) -> None:
    first = ids(2, lambda: shop.export.delay("a"))
    second = ids(2, lambda: shop.export.delay("b"))
    shop.look()
    assert sorted(shop.admit_all()) == sorted([first[0], second[0]])


def test_a_heavy_job_takes_more_and_is_not_passed_for_ever(shop: Shop) -> None:
    light = ids(1, shop.pay.delay)
    heavy = ids(1, shop.heavy.delay)
    later = ids(3, shop.pay.delay)
    shop.look()
    assert shop.admit_all() == light, "the heavy one is next, and keeps what is free"
    shop.claim(*light)
    shop.end(light[0])
    assert shop.admit_all() == heavy
    shop.claim(*heavy)
    shop.end(heavy[0])
    assert shop.admit_all() == later[:2]


def test_several_limits_must_all_have_room(shop: Shop) -> None:
    given = [shop.both.delay(tenant).id for tenant in ("a", "a", "b", "c")]
    shop.look()
    admitted = shop.admit_all()
    assert sorted(admitted) == sorted([given[0], given[2]]), "c finds the limit of all full"
    shop.claim(*admitted)
    shop.end(given[0])
    assert len(shop.admit_all()) == 1


def test_the_important_go_first(shop: Shop) -> None:
    low = shop.pay.apply_async(priority="low").id
    critical = shop.pay.apply_async(priority="critical").id
    high = shop.pay.apply_async(priority="high").id
    shop.look()
    assert shop.admit_all() == [critical, high]
    assert low not in shop.admit_all()


@pytest.mark.parametrize("way", ["error", "released", "cancelled", "lost message", "replaced"])
def test_every_way_in_which_a_job_ends_or_goes_back_gives_its_permit_back(shop: Shop, way: str) -> None:
    given = ids(3, shop.pay.delay)
    shop.look()
    shop.admit_all()
    with shop.database.transaction() as connection:
        one = UUID(given[0])
        if way == "lost message":
            connection.execute(update(JOBS).where(JOBS.c.id == one).values(dispatched=after(-3600)))
            lost_messages.clear_dispatch_marks(connection, {"normal": None}, grace=60)
        elif way == "cancelled":
            cancel.cancel(connection, [one])
        else:
            claims.claim(connection, [one], worker=ME)
        if way == "released":
            claims.release(connection, [(one, 1)], worker=ME, delay=60)
        if way in ("error", "replaced"):
            state = JobState.ERROR if way == "error" else JobState.PENDING
            outcomes.record(connection, [Outcome(id=one, attempt=1, state=state, delay=60)], worker=ME)
    assert shop.used("stripe:") == 1
    shop.wake(given[0])
    found = shop.admit_all()
    assert found == ([given[0]] if way == "lost message" else [given[2]])


def test_a_retry_waits_in_its_line_again(shop: Shop) -> None:
    given = ids(1, shop.pay.delay)
    shop.look()
    shop.admit_all()
    shop.claim(*given)
    shop.end(given[0], JobState.ERROR)
    shop.look()
    assert shop.admit_all() == given
    assert shop.claim(*given) == {given[0]: 2}


def test_a_replayed_job_waits_in_its_line(shop: Shop) -> None:
    given = ids(1, shop.pay.delay)
    shop.look()
    shop.admit_all()
    shop.claim(*given)
    shop.end(given[0], JobState.FAILED)
    with shop.database.transaction() as connection:
        replay.replay(connection, [UUID(given[0])])
    shop.look()
    assert shop.admit_all() == given


def test_a_rate_lets_its_burst_go_and_then_waits(shop: Shop) -> None:
    given = ids(4, shop.mail.delay)
    shop.look()
    assert shop.admit_all() == given[:2]
    for each in given[:2]:
        shop.claim(each)
        shop.end(each)
    assert shop.admit_all() == [], "two an hour"


def test_a_paused_limit_admits_nothing_until_it_is_resumed(shop: Shop) -> None:
    given = ids(1, shop.pay.delay)
    shop.look()
    with shop.database.transaction() as connection:
        assert limit_rows.pause(connection, "stripe", who="ann", reason="their maintenance")
        assert not limit_rows.pause(connection, "stripe", who="bob", reason=None)
    assert shop.admit_all() == []
    with shop.database.transaction() as connection:
        assert limit_rows.resume(connection, "stripe")
        lines.wake_all(connection, "stripe")
    assert shop.admit_all() == given


def test_the_commands_show_and_change_a_limit(shop: Shop) -> None:
    ids(3, shop.pay.delay)
    shop.look()
    shop.admit_all()
    assert "stripe" in call(shop.app, "limits").stdout
    assert told(shop.app, "limits", "list") == told(shop.app, "limits")
    (key,) = told(shop.app, "limits", "show", "stripe")["limit"]["keys"]
    assert (key["on_their_way"], key["waiting"]) == (2, 1)
    changed = told(shop.app, "limits", "set", "stripe", "--concurrency", 5, "--reason", "they said so")[
        "limit"
    ]
    assert (changed["concurrency"], changed["by_code"], changed["code_concurrency"]) == (5, False, 2)
    assert told(shop.app, "limits", "pause", "stripe")["changed"] is True
    assert told(shop.app, "limits", "resume", "stripe")["changed"] is True
    assert call(shop.app, "limits", "resume", "stripe").exit_code == 1
    assert told(shop.app, "limits", "set", "stripe", "--as-code-says")["limit"]["by_code"] is True
    done = [each.action for each in list_actions(app=shop.app).actions]
    assert done == ["limit unset", "limit resume", "limit pause", "limit set"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["set", "nope", "--concurrency", "1"], "nobody knows a limit 'nope': known: mails, stripe, tenant"),
        (["set", "stripe"], "wanted a concurrency or a rate"),
        (["set", "stripe", "--concurrency", "0"], "from 1 on"),
        (["set", "stripe", "--rate", "fast"], "wanted something as"),
        (["show", "nope"], "nobody knows a limit"),
    ],
)
def test_a_command_that_means_nothing_is_refused(shop: Shop, words: list[str], sentence: str) -> None:
    refused = call(shop.app, "limits", *words)
    assert refused.exit_code == 2
    assert sentence in refused.stderr


def test_the_doctor_names_a_limit_that_is_paused_for_long(shop: Shop) -> None:
    with shop.database.transaction() as connection:
        limit_rows.pause(connection, "stripe", who="ann", reason="their maintenance")
    (fresh,) = pauses_check.judge(pauses_check.read(shop.app))
    assert (fresh.level, fresh.remedy) == (Level.OK, None)
    with shop.database.transaction() as connection:
        paused = limit_rows.LIMITS.c.paused.is_not(None)
        connection.execute(update(limit_rows.LIMITS).where(paused).values(paused=after(-3600)))
    (found, *_) = [
        each for each in pauses_check.judge(pauses_check.read(shop.app)) if "stripe" in each.sentence
    ]
    assert found.level is Level.WARN
    assert found.remedy == "celery -A app limits resume stripe"


def test_metrics_tell_what_is_in_use_and_what_waits(shop: Shop) -> None:
    given = ids(3, shop.pay.delay)
    shop.look()
    shop.admit_all()
    shop.claim(given[0])
    family = next(each for each in LedgerCollector(shop.app).collect() if each.name == "celeriac_limit_jobs")
    told = {
        sample.labels["state"]: sample.value
        for sample in family.samples
        if sample.labels["limit"] == "stripe"
    }
    assert told == {"running": 1, "on_their_way": 1, "waiting": 1}


def test_what_an_operator_sets_holds_until_it_is_taken_back(shop: Shop) -> None:
    given = ids(3, shop.pay.delay)
    shop.look()
    with shop.database.transaction() as connection:
        limit_rows.change(connection, "stripe", set_concurrency=1, set_by="ann")
    assert shop.admit_all() == given[:1]
    shop.declare()  # a worker starts: the code's value does not win
    assert shop.admit_all() == []
    with shop.database.transaction() as connection:
        limit_rows.change(connection, "stripe", set_concurrency=None, set_by=None)
        lines.wake_all(connection, "stripe")
    assert shop.admit_all() == given[1:2]


def test_a_lowered_limit_drains(shop: Shop) -> None:
    given = ids(3, shop.pay.delay)
    shop.look()
    shop.admit_all()
    with shop.database.transaction() as connection:
        limit_rows.change(connection, "stripe", set_concurrency=1)
    shop.claim(*given[:2])
    shop.end(given[0])
    assert shop.admit_all() == [], "one still runs"
    shop.end(given[1])
    assert shop.admit_all() == given[2:]


def test_jobs_of_a_limit_that_no_worker_knows_wait_for_one_that_does(app: Celeriac) -> None:
    shop = Shop(app)
    given = ids(1, shop.pay.delay)
    shop.look()
    assert shop.admit_all() == []
    shop.declare()
    assert shop.admit_all() == given


def test_a_rest_holds_back_all_jobs_of_the_limit(shop: Shop) -> None:
    given = ids(1, shop.pay.delay)
    with shop.database.transaction() as connection:
        lines.rest(connection, ["stripe:"], seconds=3600)
    shop.look()
    assert shop.admit_all() == []
    with shop.database.transaction() as connection:
        connection.execute(
            update(lines.PERMIT_KEYS).values(rests_until=after(-1))  # the hour is over
        )
        connection.execute(update(lines.LINES).values(due=after(-1)))
    assert shop.admit_all() == given


def test_a_paused_queue_holds_its_jobs_and_takes_no_permit(shop: Shop) -> None:
    given = ids(1, shop.pay.delay)
    shop.look()
    with shop.database.transaction() as connection:
        pause_rows.pause(connection, PauseKind.QUEUE, ["normal"], who="ann", reason=None)
    assert shop.admit_all() == []
    assert shop.used("stripe:") == 0
    with shop.database.transaction() as connection:
        pause_rows.resume(connection, PauseKind.QUEUE, ["normal"])
        assert held.give_back(connection, "queue:normal", limit=9) == 1
    shop.look()
    assert shop.admit_all() == given


def test_a_delayed_job_is_admitted_when_it_is_due(shop: Shop) -> None:
    later = shop.pay.apply_async(countdown=3600, priority="critical").id
    now = shop.pay.delay().id
    shop.look()
    assert shop.admit_all() == [now], "what is not due holds up nothing"
    with shop.database.transaction() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == UUID(later)).values(next_attempt_after=after(-1)))
    shop.look()
    assert shop.admit_all() == [later]


def test_a_look_at_lines_that_are_known_asks_nothing_of_each(shop: Shop) -> None:
    for tenant in range(20):
        ids(2, lambda tenant=tenant: shop.export.delay(str(tenant)))
    shop.look()
    shop.admit_all()
    asked: list[str] = []
    event.listen(shop.database.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    with shop.database.transaction() as connection:
        assert lines.find_forgotten(connection, beyond=None, most=1000) is None
    assert len([each for each in asked if "background_jobs" in each]) == 1


def test_a_job_that_is_due_now_is_found_in_a_line_that_is_due_later(shop: Shop) -> None:
    later = shop.pay.apply_async(countdown=3600).id
    shop.look()
    shop.admit_all()
    with shop.database.transaction() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == UUID(later)).values(next_attempt_after=after(-1)))
        lines.find_forgotten(connection, beyond=None, most=1000)
    assert shop.admit_all() == [later]


def test_a_look_goes_on_where_the_last_one_ended(shop: Shop) -> None:
    for tenant in range(5):
        ids(1, lambda tenant=tenant: shop.export.delay(str(tenant)))
    beyond, seen = None, []
    for _ in range(3):
        with shop.database.transaction() as connection:
            beyond = lines.find_forgotten(connection, beyond=beyond, most=2)
        seen += shop.admit_all()
    assert len(seen) == 5
    assert beyond is None


def test_many_jobs_at_a_time_and_a_transaction_wait_as_well(shop: Shop) -> None:
    assert enqueue_many(shop.export, ([tenant] for tenant in ("a", "a", "b"))) == 3
    shop.look()
    assert len(shop.admit_all()) == 2


def test_a_key_that_is_not_there_is_refused_at_the_call(shop: Shop) -> None:
    with pytest.raises(BadArgument, match="no limit with a key"):
        shop.pay.apply_async(limit_key="x")
    with shop.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(JOBS)).scalar_one() == 0


def test_the_limits_hold_while_a_test_drains(app: Celeriac, tmp_path: Path) -> None:
    shop = Shop(app)
    with Kit(app, new_ledger(tmp_path / "ledger.db")) as kit:
        given = ids(3, lambda: shop.export.delay("a"))
        assert sorted(each.id for each in kit.drain()) == sorted(given)


def test_a_rate_limited_attempt_costs_no_try(app: Celeriac, tmp_path: Path) -> None:
    @app.task(name="call", limit=Limit("api", concurrency=9), max_tries=1, shared=False)
    def call() -> None:
        raise RateLimited(timedelta(minutes=5), "429")

    with Kit(app, new_ledger(tmp_path / "ledger.db")) as kit:
        id = call.delay().id
        kit.drain()
        found = job(id, app=app)
    assert (found.state, found.max_tries, found.try_count) == (JobState.ERROR, 2, 1)
    assert found.attempts[-1].kind == "snoozed"
    assert timeline(found)[-1].what == "attempt 1 ended, snoozed: 429"


def test_one_worker_looks_and_another_takes_over(shop: Shop, app: Celeriac) -> None:
    one, other = (Admitter(app, app.database, worker=new_uuid(), limits=()) for _ in range(2))
    given = ids(1, shop.pay.delay)
    one.run()
    assert other.run() > 0.5, "it has nothing to do"
    assert shop.claim(*given) == {given[0]: 1}
    with shop.database.transaction() as connection:
        connection.execute(update(limit_rows.LIMITS).values(looks_until=after(-1)))
    second = ids(1, shop.pay.delay)
    wait_until(lambda: bool(other.run() < 0.5 and shop.claim(*second)), within=30, saying="it took over")


def test_a_line_is_looked_at_when_a_job_is_due_that_went_back_into_it(shop: Shop) -> None:
    """Not seconds later, when somebody searches for what was forgotten."""
    keeper = Admitter(shop.app, shop.database, worker=new_uuid(), limits=())
    with shop.database.transaction() as connection:
        assert limit_rows.lead(connection, new_uuid(), within=3600), "another looks for all"
    keeper.run()
    jobs = ids(2, lambda: shop.export.delay("a")) + ids(1, lambda: shop.export.delay("b"))
    shop.look()
    assert sorted(shop.admit_all()) == sorted([jobs[0], jobs[2]])
    assert len(shop.claim(jobs[0], jobs[2])) == 2
    reports = []
    for id, permit in ((jobs[0], "tenant:a"), (jobs[2], "tenant:b")):
        outcome = Outcome(id=UUID(id), attempt=1, state=JobState.ERROR, delay=600)
        with shop.database.transaction() as connection:
            assert outcomes.record(connection, [outcome], worker=ME)
        reports.append(AttemptReport(outcome=outcome, permits=(permit,)))
    keeper.ended(Freed.by(reports))
    keeper.run()
    with shop.database.reading() as connection:
        due = dict(tuple(row) for row in connection.execute(select(LINES.c.permit_1, LINES.c.due)))
        times = dict(tuple(row) for row in connection.execute(select(JOBS.c.id, JOBS.c.next_attempt_after)))
    assert due["tenant:b"] == times[UUID(jobs[2])]
    assert shop.claim(jobs[1]) == {jobs[1]: 1}, "the next of the key went"


def test_sixteen_who_admit_at_once_never_exceed_the_limit(redis_url: str, postgres_url: str) -> None:
    settings = Settings(database_url=postgres_url, broker_url=redis_url)
    with closing(build(settings, set_as_current=False)) as app:
        shop = Shop(app)
        shop.declare()
        ids(200, lambda: shop.both.delay(str(new_uuid())))
        shop.look()
        barrier, most = threading.Barrier(16), []

        def one(_: int) -> int:
            with closing(Database(make_url(postgres_url), pool=1)) as database:
                barrier.wait()
                admitted = 0
                for _ in range(10):
                    with database.transaction() as connection:
                        admitted += len(admission.admit(connection, limit_rows.read(connection)))
                        lines.wake_all(connection, "stripe")
                    most.append(shop.used("stripe:"))
                return admitted

        with ThreadPoolExecutor(16) as threads:
            admitted = sum(threads.map(one, range(16)))
        assert admitted == 2
        assert max(most) == 2
