"""The dispatcher leaves time for the keeper's other duties, the heartbeat first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

import tests.jobs  # noqa: F401
from celeriac.application import Celeriac
from celeriac.enqueue.bulk import enqueue_many
from celeriac.worker.counters import Meter
from celeriac.worker.duties import dispatcher
from celeriac.worker.duties.dispatcher import Dispatcher
from tests.producers import producing


@pytest.fixture
def app(redis_url: str, postgres_url: str) -> Iterator[Celeriac]:
    with producing(redis_url, postgres_url) as app:
        app.broker_state.failed()  # what is enqueued now is left to the dispatcher
        enqueue_many(app.tasks["tests.echo"], ([n] for n in range(5)))
        app.broker_state.worked()
        yield app


def sent(app: Celeriac) -> int:
    with app.connection_for_write() as connection:
        return int(connection.default_channel.client.llen("normal"))


def test_after_its_time_it_comes_back_at_once(app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "BATCH", 2)
    monkeypatch.setattr(dispatcher, "_LONGEST", 0.0)
    duty = Dispatcher(app, app.database, meter=Meter())
    seen = [(duty.run(), sent(app)) for _ in range(4)]
    assert seen == [(0.0, 2), (0.0, 4), (0.0, 5), (None, 5)]


def test_what_others_are_sending_is_left_to_them(app: Celeriac) -> None:
    duty = Dispatcher(app, app.database, meter=Meter())
    with app.database.transaction() as connection:
        connection.execute(text("SELECT 1 FROM background_jobs FOR UPDATE")).all()
        wait = duty.run()
    assert wait is not None
    assert 0 < wait < 1
    assert sent(app) == 0
