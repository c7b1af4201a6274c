"""Brokers as they are found: in a list, behind a socket, with a user who may do little, too old a library."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import redis

import tests.jobs  # noqa: F401
from celeriac.application import Celeriac
from celeriac.broker.transport import Transport
from celeriac.errors import VersionsDoNotFit
from celeriac.operate.doctor import Level, examine
from celeriac.operate.job import jobs
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.servers import HOST, ValkeyServer, free_port

Make = Callable[..., Celeriac]


@pytest.fixture
def make(sqlite_url: str) -> Iterator[Make]:
    """Makes producers with one ledger."""
    with ExitStack() as stack:

        def made(broker: str, **settings: Any) -> Celeriac:
            known: dict[str, Any] = {
                "broker_url": broker,
                "database_url": sqlite_url,
                "schedule_module": "none",
            }
            app = build(Settings(**known, task_modules=("tests.jobs",), **settings), set_as_current=False)
            stack.callback(app.database.close)
            stack.callback(app.close)
            return app

        yield made


def waiting(server: ValkeyServer, db: int = 0) -> list[str]:
    """The ids whose messages lie in a broker."""
    with server.client(db) as client:
        return [json.loads(each)["headers"]["id"] for each in client.lrange("normal", 0, -1)]


def findings(app: Celeriac, area: str) -> dict[str, Level]:
    return {one.check: one.level for one in examine(app) if one.area == area}


def send(app: Celeriac) -> str:
    return str(app.tasks["tests.noop"].delay().id)


def test_a_producer_goes_to_the_next_broker_of_its_list(private_valkey: ValkeyServer, make: Make) -> None:
    app = make(f"redis://{HOST}:{free_port()}/3;{private_valkey.url(2)}")
    id = send(app)
    assert waiting(private_valkey, 2) == [id]
    with app.connection_or_acquire() as connection:
        assert type(connection.transport) is Transport


def test_a_producer_whose_broker_dies_goes_to_the_next(private_valkey: ValkeyServer, make: Make) -> None:
    with ValkeyServer() as first:
        app = make(f"{first.url()};{private_valkey.url()}")
        assert [send(app)] == waiting(first)
        first.kill()
        id = send(app)
        assert id in waiting(private_valkey)


def test_what_is_drawn_from_the_next_broker_is_drawn_by_our_transport(
    private_valkey: ValkeyServer, make: Make
) -> None:
    """Nothing is kept of a message that was popped, and garbage is no error."""
    with ValkeyServer() as first:
        app = make(f"{first.url()};{private_valkey.url()}")
        id = send(app)
        first.kill()
        with private_valkey.client() as client:
            client.lpush("normal", "garbage")
        found: list[Any] = []
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=3)
            consumer = app.amqp.TaskConsumer(connection.default_channel, on_message=found.append)
            with consumer:
                connection.drain_events(timeout=20)
        assert [message.damage is not None for message in found] == [True]
        with private_valkey.client() as client:
            assert not [key for key in client.scan_iter() if key.startswith(b"unacked")]
        assert jobs(app=app)[0].id == id


def test_broker_results_and_lock_are_reached_through_a_socket(tmp_path: Any, make: Make) -> None:
    path = tmp_path / "valkey.sock"
    with ValkeyServer(config={"unixsocket": path}) as server:
        app = make(f"redis+socket://{path}?db=3")
        assert [send(app)] == waiting(server, 3)
        assert findings(app, "broker") == {
            "version": Level.OK,
            "eviction": Level.OK,
            "memory": Level.OK,
            "neighbours": Level.OK,
        }
        assert findings(app, "beat") == {"leader": Level.WARN}  # asked, and nobody leads


def test_a_parameter_names_the_database(private_valkey: ValkeyServer, make: Make) -> None:
    app = make(f"{private_valkey.url().removesuffix('/0')}?db=9")
    assert [send(app)] == waiting(private_valkey, 9)
    assert "results" not in findings(app, "broker")


def test_a_user_who_may_not_ask_info_is_no_failure(private_valkey: ValkeyServer, make: Make) -> None:
    with private_valkey.client() as client:
        client.execute_command("ACL", "SETUSER", "jobs", "on", ">pw", "~*", "&*", "+@all", "-info")
    app = make(f"redis://jobs:pw@{HOST}:{private_valkey.port}/0")
    assert findings(app, "broker") == {"version": Level.OK, "neighbours": Level.OK}
    assert [send(app)] == waiting(private_valkey)


def test_a_reply_that_is_waited_for_is_not_taken_for_another(
    private_valkey: ValkeyServer, make: Make
) -> None:
    """A process that asked the workers something still waits where it drew the replies."""
    app = make(private_valkey.url())
    send(app)
    for _ in range(3):
        assert app.control.ping(timeout=0.2) == []
        assert findings(app, "broker")["version"] is Level.OK
        app.control.ping(timeout=0.2)
        app.control.purge()


def test_libraries_that_do_not_fit_are_refused_before_anything_is_written(
    private_valkey: ValkeyServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or every call would write its row, and no message ever leave."""
    monkeypatch.setattr(redis, "VERSION", (3, 1, 0))
    monkeypatch.setattr(redis, "__version__", "3.1.0")
    app = make(private_valkey.url())
    with pytest.raises(VersionsDoNotFit, match=r"redis-py 3\.1\.0 do not fit together"):
        send(app)
    assert jobs(app=app) == []
    assert findings(app, "broker") == {"versions": Level.FAIL}


def test_an_address_on_the_command_line_is_read_like_the_others(make: Make, sqlite_url: str) -> None:
    """``celery -b`` and CELERY_BROKER_URL go past our settings."""
    app = make("redis://host/0")
    with closing(app.connection_for_write("redis://host?db=9")) as connection:
        assert connection.as_uri().endswith("host:6379/9")  # kombu 5.7 hides a password where there is none
