"""Results that a child does not store: they are carried to the main process, which stores many at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from celery import signals
from celery.app.task import Context

from celeriac.application import Celeriac
from celeriac.ids import new_uuid
from celeriac.settings.platform import Settings
from celeriac.task.results.carried import CarriedResult, Carrier
from tests.apps import build
from tests.servers import ValkeyServer
from tests.support import wait_until

LONG = 60.0  # seconds: more than anything here takes, on a busy machine


@contextmanager
def furnished(store: str, database: str) -> Iterator[Celeriac]:
    settings: dict[str, Any] = {"broker_url": store, "database_url": database, "task_modules": ()}
    app = build(Settings(**settings), set_as_current=False)

    @app.task(name="tests.plain", shared=False)
    def plain() -> None: ...

    with closing(app):
        yield app


@pytest.fixture
def app(redis_url: str, sqlite_url: str) -> Iterator[Celeriac]:
    with furnished(redis_url, sqlite_url) as app:
        yield app


class Child:
    """A child with the app's result store, and what it was given to keep."""

    def __init__(self, app: Celeriac, *, room: bool = True) -> None:
        self.app = app
        self.kept: list[CarriedResult] = []
        self.room = room
        self.carrier = app.backend.carrier = Carrier(app, self._keep)

    def _keep(self, result: CarriedResult) -> bool:
        if self.room:
            self.kept.append(result)
        return self.room

    def ends(self, value: Any, *, expected: bool = True, **request: Any) -> str:
        """An attempt that ends well, as Celery's tracer says it; returns its task id."""
        id = str(new_uuid())
        self.carrier.expect(id if expected else None)
        context = Context({"id": id, "task": "tests.plain", "delivery_info": {}, **request})
        self.app.backend.mark_as_done(id, value, context)
        return id


def stored(app: Celeriac, id: str) -> dict[str, Any] | None:
    raw = app.backend.client.get(app.backend.get_key_for_task(id))
    return json.loads(raw) if raw else None


def test_what_is_carried_and_stored_is_what_celery_stores(app: Celeriac) -> None:
    child, value = Child(app), [1, {"a": "ü"}, None]
    request = {"group": "of-a-group", "parent_id": "of-a-parent"}
    mine = child.ends(value, **request)
    assert stored(app, mine) is None
    (carried,) = child.kept
    assert json.loads(carried.value) == value
    with app.backend.client.pubsub() as waiting:
        waiting.subscribe(app.backend.get_key_for_task(mine))
        app.backend.store_carried([(mine, carried)])
        message = wait_until(
            lambda: waiting.get_message(ignore_subscribe_messages=True), within=LONG, saying="it is published"
        )
    assert json.loads(message["data"]) == stored(app, mine)

    theirs = child.ends(value, expected=False, **request)
    metas = [stored(app, id) or {} for id in (mine, theirs)]
    assert [meta.pop("task_id") for meta in metas] == [mine, theirs]
    assert all(meta.pop("date_done") for meta in metas)
    assert metas[0] == metas[1]
    assert metas[0]["group_id"] == "of-a-group"
    lives = [app.backend.client.ttl(app.backend.get_key_for_task(id)) for id in (mine, theirs)]
    assert abs(lives[0] - lives[1]) <= LONG


@pytest.mark.parametrize("scripts", [True, False])
def test_a_success_is_not_overwritten_and_anything_else_is(
    private_valkey: ValkeyServer, sqlite_url: str, scripts: bool
) -> None:
    """Also for a user of Redis who may run no script."""
    with furnished(private_valkey.url(), sqlite_url) as app:
        if not scripts:
            app.backend.client.execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval")
        child = Child(app)
        ids = [child.ends(number) for number in range(4)]
        app.backend.store_result(ids[0], "first", "SUCCESS")
        app.backend.store_result(ids[1], {"pid": 1}, "STARTED")
        app.backend.client.set(app.backend.get_key_for_task(ids[2]), "no JSON")
        app.backend.store_carried(list(zip(ids, child.kept, strict=True)))
        found = [stored(app, id) or {} for id in ids]
        assert [each["result"] for each in found] == ["first", 1, 2, 3]


def test_what_finds_no_room_is_stored_at_once(app: Celeriac) -> None:
    child = Child(app, room=False)
    assert (stored(app, child.ends("value")) or {})["result"] == "value"


def test_what_others_hear_of_is_stored_at_once(app: Celeriac) -> None:
    child = Child(app)

    def hears(**_: Any) -> None: ...

    signals.task_success.connect(hears)
    try:
        assert (stored(app, child.ends(1)) or {})["result"] == 1
    finally:
        signals.task_success.disconnect(hears)
    app.tasks["tests.plain"].__class__.after_return = lambda *_: None
    assert (stored(app, Child(app).ends(2)) or {})["result"] == 2
    assert child.kept == []


def test_a_value_that_is_no_json_fails_its_job(app: Celeriac) -> None:
    with pytest.raises(Exception, match="not JSON serializable"):
        Child(app).ends(object())
