"""A worker that is drained ends what it has and draws nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from celeriac.application import Celeriac
from celeriac.operate.actions import list_actions
from celeriac.operate.job import job
from celeriac.operate.overview import live_workers
from celeriac.settings.platform import Settings
from tests.apps import mail_app
from tests.commands import call, told
from tests.support import wait_until
from tests.workers import Worker


@pytest.fixture
def app(redis_url: str, sqlite_url: str) -> Iterator[Celeriac]:
    made = mail_app(Settings(broker_url=redis_url, database_url=sqlite_url), name="drain")
    yield made
    made.close()


def test_a_drained_worker_draws_nothing_more(
    app: Celeriac, redis_url: str, sqlite_url: str, start_worker: Callable[..., Worker]
) -> None:
    start_worker(redis_url, sqlite_url).ready()
    name = wait_until(lambda: live_workers(app=app), within=30, saying="it has signed on")[0].hostname
    found = told(app, "workers", "drain", name)
    assert {"critical", "high", "normal", "low"} <= set(found["queues"])
    wait_until(lambda: not live_workers(app=app)[0].queues, within=30, saying="its row says so")
    id = app.tasks["mail.send"].delay("you@example.org").id
    assert job(id, app=app).state == "pending"
    again = call(app, "workers", "drain", name)
    assert (again.exit_code, "it is drained" in again.stderr) == (2, True)
    nobody = call(app, "workers", "drain", "nobody@here")
    assert (nobody.exit_code, "no worker named 'nobody@here' lives" in nobody.stderr) == (2, True)
    assert [(each.action, each.subject) for each in list_actions(app=app).actions] == [("worker drain", name)]
    assert job(id, app=app).state == "pending", "nobody has drawn it meanwhile"
