"""A console that is killed in an action on many jobs: the next one goes on, and no job is met twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from celeriac.application import Celeriac
from celeriac.ledger.schema.models import JOBS
from celeriac.operate import listing
from celeriac.operate.acting import moving, operations
from celeriac.operate.acting.operations import Operation, Plan
from celeriac.operate.acting.selection import Selection
from celeriac.operate.actions import Actor, Via
from celeriac.operate.listing import Filter, JobState
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.support import wait_until
from tests.workers import CeleryProcess, environment

COUNT = 3_000

Start = Callable[[], CeleryProcess]


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = mail_app(Settings(database_url=database_url, broker_url=redis_url), name="killed")
    yield made
    made.close()


@pytest.fixture
def console(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts consoles with the ledger of ``app``."""
    env = environment(redis_url, database_url, {"data_dir": tmp_path})
    with ExitStack() as stack:
        yield lambda: stack.enter_context(CeleryProcess("console", ["--port", "0"], env=env))


def write(app: Celeriac, made: Callable[[], dict[str, Any]]) -> None:
    rows = [made() for _ in range(COUNT)]
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), rows)


def begin(app: Celeriac, action: str, **more: Any) -> str:
    selection = operations.settled(Selection(wanted=Filter(task="mail.send")), app=app)
    plan = Plan(action=action, selection=selection, subject="--task mail.send", **more)
    return operations.begin(plan, by=Actor("ann", Via.CONSOLE), counted=COUNT, app=app)


def found(app: Celeriac, id: str) -> Operation:
    one = operations.find(id, app=app)
    assert one is not None
    return one


def test_a_killed_console_leaves_nothing_undone_and_nothing_done_twice(app: Celeriac, console: Start) -> None:
    write(app, stock.failed)
    id = begin(app, "replay", rate=500.0)
    first = console()
    wait_until(lambda: found(app, id).action.done > 0, within=120, saying="it has begun")
    first.kill()
    done = found(app, id).action.done
    assert 0 < done < COUNT
    assert done == listing.count(Filter(state=JobState.PENDING), most=COUNT, app=app)
    console()
    wait_until(lambda: found(app, id).action.ended is not None, within=120, saying="the next goes on")
    assert (found(app, id).action.state, found(app, id).action.done) == ("done", COUNT)
    with app.database.reading() as connection:
        tries = connection.execute(
            select(JOBS.c.state, JOBS.c.max_tries, func.count()).group_by(JOBS.c.state, JOBS.c.max_tries)
        ).all()
    assert [tuple(row) for row in tries] == [("pending", 6, COUNT)], "each got five more tries, once"


def test_an_action_that_could_meet_a_job_again_goes_on_behind_the_last_batch(
    app: Celeriac, console: Start
) -> None:
    """A job that was replayed is no dead letter any more; one that was moved still fits."""
    write(app, stock.pending)
    id = begin(app, "move", rate=500.0, options=moving.checked(app, "gpu", None))
    first = console()
    wait_until(lambda: found(app, id).action.done > 0, within=120, saying="it has begun")
    first.kill()
    moved = partial(listing.count, Filter(queue="gpu.normal"), most=COUNT, app=app)
    done = found(app, id).action.done
    assert 0 < done < COUNT
    assert done == moved()
    console()
    wait_until(lambda: found(app, id).action.ended is not None, within=120, saying="the next goes on")
    assert (found(app, id).action.state, found(app, id).action.done) == ("done", COUNT)
    assert moved() == COUNT
