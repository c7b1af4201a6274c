"""Servers that keep a connection open and say nothing, rows that somebody else has locked: work goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import job
from tests.acceptance.faults.conftest import _drill
from tests.acceptance.faults.drill import SETTLE, Drill
from tests.acceptance.faults.house import House
from tests.proxy import Proxy
from tests.servers import PostgresServer, ValkeyServer
from tests.support import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@dataclass
class Proxied:
    """A PostgreSQL server as it is seen through a proxy."""

    behind: PostgresServer
    proxy: Proxy

    def url(self, database: str) -> str:
        direct = make_url(self.behind.url(database))
        return direct.set(port=self.proxy.port).render_as_string(hide_password=False)


@pytest.fixture
def proxy(servers: tuple[ValkeyServer, PostgresServer]) -> Iterator[Proxy]:
    with Proxy(servers[1].port) as proxy:
        yield proxy


@pytest.fixture
def proxied_drill(
    request: pytest.FixtureRequest,
    servers: tuple[ValkeyServer, PostgresServer],
    proxy: Proxy,
    tmp_path: Path,
) -> Iterator[Drill]:
    between: Any = Proxied(servers[1], proxy)
    with House(*servers, tmp_path, bouncer=between) as house:
        yield _drill(request, house, tmp_path, settle=SETTLE)


def test_a_proxy_before_postgresql_hangs(proxied_drill: Drill, proxy: Proxy) -> None:
    drill = proxied_drill
    drill.house.man(2)
    with drill.load(rate=20, lasting=2):
        drill.flows()
        proxy.hang()
        _for(15)
        proxy.mend()  # for new connections: the old ones stay silent for ever
        drill.over()
    drill.ends(refusals=True)


@pytest.fixture
def store() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


def test_a_result_store_of_its_own_freezes(
    servers: tuple[ValkeyServer, PostgresServer], store: ValkeyServer, tmp_path: Path
) -> None:
    settings = {"CELERY_RESULT_BACKEND": store.url()}
    with House(*servers, tmp_path, settings=settings) as house:
        house.man(1)
        add = house.app.tasks["tests.add"]
        first = str(add.delay(1, 2).id)
        wait_until(lambda: _states(house, [first]) == {"completed"}, within=30, saying="it works")
        store.freeze()
        ids = [str(add.delay(1, n).id) for n in range(60)]
        # Two children and the ledger thread meet a few time-outs; 60 jobs would take minutes of them.
        wait_until(lambda: _states(house, ids) == {"completed"}, within=60, saying="all without the store")
        store.thaw()


def test_a_running_jobs_row_is_locked_by_somebody_else(drill: Drill) -> None:
    (worker,) = drill.house.man(1)
    app = drill.house.app
    locked = str(app.tasks["tests.sleep"].delay(2).id)
    wait_until(lambda: job(locked, app=app).state is JobState.RUNNING, within=30, saying="it runs")
    with drill.house.database.transaction() as stranger:
        stranger.execute(text("SELECT 1 FROM background_jobs WHERE id = :id FOR UPDATE"), {"id": locked})
        ids = drill.enqueue(60)
        wait_until(lambda: _states(drill.house, ids) == {"completed"}, within=60, saying="the others go on")
        assert worker.running
        assert job(locked, app=app).state is JobState.RUNNING
    wait_until(lambda: job(locked, app=app).state is JobState.COMPLETED, within=30, saying="then it ends")
    assert job(locked, app=app).try_count == 1


def _states(house: House, ids: list[str]) -> set[str]:
    with house.database.reading() as connection:
        found = connection.execute(
            text("SELECT DISTINCT state FROM background_jobs WHERE CAST(id AS text) = ANY(:ids)"),
            {"ids": ids},
        )
        return set(found.scalars())


def _for(seconds: float) -> None:
    """Let a fault last: there is nothing to wait for but the clock."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, within=seconds + 5, saying="time passes")
