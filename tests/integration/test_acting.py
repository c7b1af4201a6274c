"""Actions on many jobs go on after the death of who carries them out, and meet no job twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select, update

from celeriac.application import Celeriac
from celeriac.errors import BadArgument
from celeriac.ids import new_uuid
from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.schema.operator_tables import ACTIONS
from celeriac.operate import listing
from celeriac.operate.acting import one_job, operations
from celeriac.operate.acting.carry_out import carry_out
from celeriac.operate.acting.moving import checked
from celeriac.operate.acting.operations import Operation, Plan
from celeriac.operate.acting.runner import Runner
from celeriac.operate.acting.selection import Selection
from celeriac.operate.actions import Actor, Via, list_actions
from celeriac.operate.dead_letters import Cause, groups
from celeriac.operate.job import job
from celeriac.operate.listing import Filter, JobState
from celeriac.operate.presentation.filter_words import WORDS, filter_of, words_of
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.support import wait_until

ANN = Actor("ann", Via.CONSOLE)
LONG_AGO = 60.0  # seconds


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = mail_app(Settings(database_url=database_url, broker_url=redis_url), name="acting")
    yield made
    made.close()


@pytest.fixture
def runner(app: Celeriac) -> Iterator[Runner]:
    """Of another process than the one that the test is about."""
    made = Runner(app)
    yield made
    made.close()


def write_dead(app: Celeriac, count: int, **values: Any) -> list[UUID]:
    rows = [stock.failed(**values) for _ in range(count)]
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), rows)
        connection.execute(insert(FAILURES), [stock.failure(row) for row in rows])
    return [row["id"] for row in rows]


def write(app: Celeriac, *rows: dict[str, Any]) -> list[str]:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), rows)
    return [str(row["id"]) for row in rows]


def change(app: Celeriac, ids: Sequence[UUID], **values: Any) -> None:
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id.in_(ids)).values(values))


def row(app: Celeriac, id: str) -> Any:
    with app.database.reading() as connection:
        return connection.execute(select(JOBS).where(JOBS.c.id == UUID(id))).one()


def begin(app: Celeriac, *, by: Actor = ANN, runner: UUID | None = None, **more: Any) -> str:
    """A replay of the largest group, begun and not yet carried out."""
    selection = operations.settled(Selection(causes=(Cause.of(groups(app=app)[0]),)), app=app)
    plan = Plan(action="replay", selection=selection, subject="a group", **more)
    count = operations.count("replay", selection, app=app)
    return operations.begin(plan, by=by, counted=count, runner=runner, app=app)


def found(app: Celeriac, id: str) -> Operation:
    one = operations.find(id, app=app)
    assert one is not None
    return one


def forget(app: Celeriac, id: str) -> None:
    """As if who carries it out had said nothing for long."""
    with app.database.transaction() as connection:
        silent = update(ACTIONS).where(ACTIONS.c.id == UUID(id))
        connection.execute(silent.values(touched=stock.before(LONG_AGO * 2)))


def ended(app: Celeriac, id: str) -> Operation:
    wait_until(lambda: found(app, id).action.ended is not None, within=60, saying="it has ended")
    return found(app, id)


def many(app: Celeriac, state: JobState) -> int:
    return listing.count(Filter(state=state), most=100_000, app=app)


# Who carries it out


def test_what_a_dead_process_left_is_gone_on_with_and_nothing_is_done_twice(
    app: Celeriac, runner: Runner
) -> None:
    write_dead(app, 450)
    dead, died = new_uuid(), threading.Event()
    id = begin(app, runner=dead)
    met = carry_out(app, UUID(id), dead, stopping=died, progress=lambda done: died.set())
    assert met == found(app, id).action.done == 200
    runner.start()
    assert found(app, id).action.ended is None, "it was touched a moment ago"
    forget(app, id)
    assert ended(app, id).action.done == 450
    assert many(app, JobState.PENDING) == 450
    with app.database.reading() as connection:
        tries = connection.execute(select(JOBS.c.max_tries).distinct()).scalars().all()
    assert tries == [6], "each was replayed once: five more tries"


def test_a_process_from_which_it_was_taken_does_no_more(app: Celeriac) -> None:
    write_dead(app, 3)
    late, other = new_uuid(), new_uuid()
    id = begin(app, runner=late)
    with app.database.transaction() as connection:
        connection.execute(update(ACTIONS).values(runner=other))
    assert carry_out(app, UUID(id), late, stopping=threading.Event()) == 0
    assert many(app, JobState.FAILED) == 3
    assert carry_out(app, UUID(id), other, stopping=threading.Event()) == 3


def test_a_command_ends_with_its_process(app: Celeriac, runner: Runner) -> None:
    write_dead(app, 3)
    id = begin(app, by=Actor("ann", Via.CLI), runner=new_uuid())
    forget(app, id)
    runner.start()
    one = ended(app, id)
    assert one.action.state == "failed"
    assert "ended before it was done" in (one.action.error or "")
    assert many(app, JobState.FAILED) == 3


def test_a_stop_is_obeyed_whoever_writes_it(app: Celeriac, runner: Runner) -> None:
    write_dead(app, 60)
    id = begin(app, rate=10.0)
    runner.start()
    wait_until(lambda: found(app, id).action.done > 0, within=60, saying="some are replayed")
    assert operations.stop(id, by=Actor("ben", Via.API), app=app)
    one = ended(app, id)
    assert (one.action.state, one.action.stopped_by) == ("stopped", "ben")
    assert one.action.done == many(app, JobState.PENDING) < 60
    assert not operations.stop(id, by=ANN, app=app)


def test_what_nobody_carries_out_is_stopped_at_once(app: Celeriac) -> None:
    write_dead(app, 3)
    id = begin(app)
    assert operations.stop(id, by=ANN, app=app)
    assert found(app, id).action.state == "stopped"


def test_a_dead_letter_that_fails_again_is_met_once(app: Celeriac) -> None:
    ids = write_dead(app, 3)
    me, stopped = new_uuid(), threading.Event()
    id = begin(app, rate=1.0, runner=me)
    carry_out(app, UUID(id), me, stopping=stopped, progress=lambda done: stopped.set())
    assert many(app, JobState.PENDING) == 1
    change(app, ids, state="failed", finished=stock.before(-60), dispatched=stock.before(0))
    carry_out(app, UUID(id), me, stopping=threading.Event())
    assert found(app, id).action.state == "done"
    assert many(app, JobState.FAILED) == 3, "they failed after it was asked for"


@pytest.mark.parametrize("selection", ["ids", "filter", "causes"])
def test_a_selection_means_the_same_when_it_is_read_from_its_row(app: Celeriac, selection: str) -> None:
    ids = write_dead(app, 2)
    words = {
        "state": "failed",
        "task": "mail.send",
        "since": "2h",
        "finished-since": "2h",
        "id-prefix": str(ids[0])[:2],
    }
    given = {
        "ids": Selection(ids=tuple(sorted(ids))),
        "filter": Selection(wanted=filter_of(words)),
        "causes": Selection(causes=(Cause(task="mail.send"),)),
    }[selection]
    settled = operations.settled(given, app=app)
    assert Selection.of(settled.plain()) == settled


def test_a_filter_and_its_words_are_the_same() -> None:
    moments = [word for word in WORDS if word.endswith(("since", "until"))]
    texts = dict.fromkeys(moments, "2030-01-01T00:00:00+00:00")
    words = dict.fromkeys(WORDS, "x") | texts | {"state": "failed", "id-prefix": "0192d3"}
    assert words_of(filter_of(words)) == words


def test_a_job_names_the_actions_on_many_jobs_that_met_it(app: Celeriac, runner: Runner) -> None:
    ids = write_dead(app, 3)
    other = write_dead(app, 1, job_type="mail.other", user_id="u9")[0]
    by_group = begin(app)
    runner.start()
    ended(app, by_group)
    for selection in (
        Selection(wanted=filter_of({"user": "u9"})),
        Selection(ids=(other,)),
        Selection(wanted=filter_of({"task": "mail.none"})),
    ):
        plan = Plan(action="cancel", selection=operations.settled(selection, app=app), subject="some")
        id = operations.begin(plan, by=ANN, counted=1, app=app)
        runner.wake()
        ended(app, id)

    def met(id: UUID) -> list[str]:
        return [each.action for each in operations.that_met(job(str(id), app=app), app=app)]

    assert met(ids[0]) == ["replay"]
    assert met(other) == ["cancel", "cancel"]


def test_an_action_has_not_met_a_job_that_it_did_not_reach(app: Celeriac) -> None:
    ids = sorted(write_dead(app, 2))
    me, stopped = new_uuid(), threading.Event()
    id = begin(app, rate=1.0, runner=me)
    carry_out(app, UUID(id), me, stopping=stopped, progress=lambda done: stopped.set())
    operations.stop(id, by=ANN, app=app)
    assert [len(operations.that_met(job(str(each), app=app), app=app)) for each in ids] == [1, 0]


# A canary


def end_open(app: Celeriac, id: str, *, failing: int = 0) -> None:
    """Let the jobs that the canary watches end: the first of them fail at their first attempt."""
    watch = found(app, id).canary
    assert watch is not None
    bad, good = watch.open[:failing], watch.open[failing:]
    attempts = [stock.failure(stock.failed(id=each), attempt=2) for each in bad]
    over = {"state": "completed", "finished": stock.before(0), "dispatched": stock.before(0)}
    again = {"state": "error", "try_count": JOBS.c.tries_before + 1}
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id.in_(good)).values(over))
        connection.execute(update(JOBS).where(JOBS.c.id.in_(bad)).values(again))
        if attempts:
            connection.execute(insert(FAILURES), attempts)


def wait_for_canary(app: Celeriac, id: str, *, begun: int) -> None:
    def is_there() -> bool:
        watch = found(app, id).canary
        return watch is not None and watch.begun == begun == len(watch.open)

    wait_until(is_there, within=60, saying=f"{begun} are on their way")


def test_the_rest_waits_for_the_first_five(app: Celeriac, runner: Runner) -> None:
    write_dead(app, 40)
    id = begin(app, canary=True)
    runner.start()
    wait_for_canary(app, id, begun=5)
    assert many(app, JobState.FAILED) == 35
    end_open(app, id)
    wait_until(lambda: many(app, JobState.FAILED) == 0, within=60, saying="the rest follows")
    assert found(app, id).action.ended is None, "the last ones are watched"
    end_open(app, id)
    one = ended(app, id)
    assert (one.action.state, one.action.done, one.success) == ("done", 40, 1.0)


def test_the_rest_stays_when_one_of_the_first_five_fails(app: Celeriac, runner: Runner) -> None:
    write_dead(app, 40)
    id = begin(app, canary=True)
    runner.start()
    wait_for_canary(app, id, begun=5)
    end_open(app, id, failing=1)
    one = ended(app, id)
    assert (one.action.state, one.action.stopped_by) == ("stopped", "the canary")
    assert one.action.error == "1 of the first 5 jobs failed again: the rest stays as it was"
    assert (one.success, many(app, JobState.FAILED)) == (0.8, 35)


def test_the_rest_stops_when_too_many_fail_lately(app: Celeriac, runner: Runner) -> None:
    write_dead(app, 400)
    id = begin(app, canary=True)
    runner.start()
    wait_for_canary(app, id, begun=5)
    end_open(app, id)

    def is_full() -> bool:
        watch = found(app, id).canary
        return watch is not None and len(watch.open) == 200

    wait_until(is_full, within=60, saying="no more than 200 are on their way unjudged")
    assert many(app, JobState.FAILED) == 195
    end_open(app, id, failing=20)
    one = ended(app, id)
    assert "of the last 100 jobs that ended failed again" in (one.action.error or "")
    assert many(app, JobState.FAILED) == 195


def test_a_group_that_is_smaller_than_a_canary_ends(app: Celeriac, runner: Runner) -> None:
    write_dead(app, 3)
    id = begin(app, canary=True)
    runner.start()
    wait_for_canary(app, id, begun=3)
    end_open(app, id)
    assert ended(app, id).action.state == "done"


def test_only_a_replay_may_be_a_canary(app: Celeriac) -> None:
    plan = Plan(action="discard", selection=Selection(ids=()), subject="none", canary=True)
    with pytest.raises(BadArgument):
        operations.begin(plan, by=ANN, counted=0, app=app)


# Jobs that wait


def test_a_job_that_waits_for_a_time_is_due_now(app: Celeriac) -> None:
    later = stock.pending(dispatched=None, next_attempt_after=stock.before(-3600))
    parked = stock.pending(dispatched=None, next_attempt_after=PARKED)
    due, done = stock.pending(), stock.job()
    ids = write(app, later, parked, due, done)
    answers = [one_job.act("run-now", id, by=ANN, app=app) for id in ids]
    assert answers == [True, False, False, False]
    assert row(app, ids[0]).next_attempt_after <= stock.before(0)
    assert row(app, ids[1]).next_attempt_after == PARKED
    (action,) = list_actions(app=app).actions
    assert (action.action, action.job_id) == ("run-now", ids[0])


@pytest.mark.parametrize(
    ("to", "place"),
    [
        ({"priority": "high"}, ("high", 20)),
        ({"priority": 12}, ("normal", 12)),
        ({"queue": "gpu"}, ("gpu.normal", 10)),
        ({"queue": "gpu.low"}, ("gpu.low", 0)),
        ({"queue": "gpu", "priority": 30}, ("gpu.critical", 30)),
    ],
)
def test_a_job_that_waits_is_moved_and_sent_anew(app: Celeriac, to: Any, place: Any) -> None:
    (id,) = write(app, stock.pending(dispatch_count=3, held="queue:normal"))
    options = checked(app, to.get("queue"), to.get("priority"))
    assert one_job.act("move", id, by=ANN, options=options, app=app)
    moved = row(app, id)
    assert (moved.queue, moved.priority) == place
    assert (moved.dispatched, moved.held, moved.dispatch_count) == (None, None, 4)


@pytest.mark.parametrize(
    "values", [stock.running(), stock.job(), stock.failed()], ids=lambda job: job["state"]
)
def test_a_job_that_does_not_wait_is_not_moved(app: Celeriac, values: dict[str, Any]) -> None:
    (id,) = write(app, values)
    assert not one_job.act("move", id, by=ANN, options={"queue": "low"}, app=app)
    assert row(app, id).queue == values["queue"]
    assert list_actions(app=app).actions == ()


@pytest.mark.parametrize(("queue", "priority"), [(None, None), ("gpu.high", 0), ("", None), (None, "urgent")])
def test_a_place_without_a_meaning_is_refused(app: Celeriac, queue: Any, priority: Any) -> None:
    with pytest.raises(BadArgument):
        checked(app, queue, priority)


def test_a_clone_is_another_job_with_the_same_arguments(app: Celeriac) -> None:
    (id,) = write(app, stock.job(queue="high", priority=20, idempotency_key="once"))
    made = job(one_job.clone(id, by=ANN, app=app), app=app)
    old = job(id, app=app)
    assert made.id != id
    assert (made.args, made.kwargs, made.queue, made.user_id) == (old.args, old.kwargs, "high", old.user_id)
    assert (made.state, made.idempotency_key) == ("pending", None)
    (action,) = list_actions(job=id, app=app).actions
    assert made.id in action.subject
