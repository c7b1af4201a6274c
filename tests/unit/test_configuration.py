"""What an app obeys, from every source; nothing here connects to anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from celery import Task as CeleryTask
from kombu import Queue

from celeriac import Celeriac
from celeriac.errors import SettingsError
from celeriac.operate.presentation.settings_shown import settings_shown
from celeriac.settings.platform import EmbeddedAddress

BROKER, LEDGER = "redis://code:6379/1", "sqlite:////nowhere/ledger.db"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that says nothing, in a directory that stays empty."""
    for name in os.environ:
        if name.startswith(("CELERY_", "CELERIAC_")) or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("CELERIAC_DATA_DIR", str(tmp_path))


def shop(**options: Any) -> Celeriac:
    return Celeriac("shop", set_as_current=False, **{"broker": BROKER, "ledger": LEDGER, **options})


def by_constructor(**values: Any) -> Celeriac:
    return shop(**values)


def by_update(**values: Any) -> Celeriac:
    app = shop()
    app.conf.update(values)
    return app


def by_update_at_once(**values: Any) -> Celeriac:
    app = shop()
    assert app.conf.enable_utc, "read"
    app.conf.update(values)
    app.check_configuration()
    return app


def by_object(**values: Any) -> Celeriac:
    app = shop()
    app.config_from_object(SimpleNamespace(**values))
    return app


def by_dict(**values: Any) -> Celeriac:
    app = shop()
    app.config_from_object(values)
    return app


def by_namespace(**values: Any) -> Celeriac:
    app = shop()
    named = {f"SHOP_{name.upper()}": value for name, value in values.items()}
    app.config_from_object(SimpleNamespace(**named), namespace="SHOP")
    return app


def by_module(**values: Any) -> Celeriac:
    module = ModuleType("celeriac_of_a_test")
    vars(module).update(values)
    sys.modules[module.__name__] = module
    app = shop()
    app.config_from_object(module.__name__)
    return app


SOURCES = (by_constructor, by_update, by_update_at_once, by_object, by_dict, by_namespace, by_module)
every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)


@pytest.fixture(autouse=True)
def _no_module() -> Iterator[None]:
    yield
    sys.modules.pop("celeriac_of_a_test", None)


def _work() -> None:
    """Never run."""


# ---- what is obeyed


@every_source
def test_a_setting_of_celery_is_obeyed(source: Callable[..., Celeriac]) -> None:
    conf = source(task_time_limit=77, broker_pool_limit=3, timezone="Europe/Rome").conf
    assert (conf.task_time_limit, conf.broker_pool_limit, conf.timezone) == (77, 3, "Europe/Rome")


@every_source
def test_a_setting_of_ours_goes_before_the_environment(
    source: Callable[..., Celeriac], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERIAC_MAX_TRIES", "2")
    monkeypatch.setenv("CELERIAC_KEEP_DAYS", "3")
    settings = source(celeriac_max_tries=9).settings
    assert (settings.max_tries, settings.keep_days) == (9, 3)


@every_source
def test_the_platforms_own_is_refused_by_name_with_the_reason(source: Callable[..., Celeriac]) -> None:
    with pytest.raises(SettingsError) as told:
        source(task_acks_late=False, worker_direct=True).settings  # noqa: B018
    assert [problem.split(":")[0] for problem in told.value.problems] == ["task_acks_late", "worker_direct"]


@every_source
def test_what_is_met_anyway_is_taken(source: Callable[..., Celeriac]) -> None:
    conf = source(task_reject_on_worker_lost=True, task_publish_retry=True).conf
    assert conf.task_publish_retry is False


@pytest.mark.parametrize(
    "options",
    [
        {"task_queues": [Queue("gpu"), Queue("celery")]},
        {
            "broker": "sentinel://a:26379;sentinel://b:26379",
            "broker_transport_options": {"master_name": "main"},
            "result_backend_transport_options": {"master_name": "main"},
        },
    ],
    ids=["queues", "sentinels"],
)
def test_a_worker_can_tell_how_it_is_connected(options: dict[str, Any]) -> None:
    """Its answer to ``inspect stats`` has the transport's options in it, and nothing but JSON is sent."""
    with shop(**options).connection_for_read() as connection:
        told = json.loads(json.dumps(connection.info()))
    assert told["transport_options"]["low_share"] == 0.0


@every_source
def test_transport_options_are_merged(source: Callable[..., Celeriac]) -> None:
    app = source(broker_transport_options={"visibility_timeout": 9, "socket_timeout": 2})
    expected = {"visibility_timeout": 9, "socket_timeout": 2, "priority_steps": [0]}
    assert expected.items() <= app.conf.broker_transport_options.items()


SENTINELS = "sentinel://:pw@one/3;sentinel://two:7"


@pytest.mark.parametrize("source", [each for each in SOURCES if each is not by_update_at_once])
def test_everything_is_told_of_the_sentinels(
    source: Callable[..., Celeriac], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", SENTINELS)
    options = {"master_name": "jobs", "min_other_sentinels": 1, "sentinel_kwargs": {"password": "other"}}
    app = source(broker_transport_options=options)
    everything = "sentinel://:pw@one:26379/3;sentinel://:pw@two:7/3"
    assert (app.settings.broker, app.settings.results) == (everything, everything)
    for told in (app.conf.broker_transport_options, app.conf.result_backend_transport_options):
        assert {"master_name": "jobs", "min_other_sentinels": 1}.items() <= told.items()
        assert {"password": "other", "socket_timeout": 0.3}.items() <= told["sentinel_kwargs"].items()
    assert app.conf.redbeat_redis_url.startswith("redis-sentinel://")
    redbeat = app.conf.redbeat_redis_options
    assert (redbeat["sentinels"], redbeat["service_name"]) == ([("one", 26379), ("two", 7)], "jobs")
    assert (redbeat["password"], redbeat["db"], redbeat["sentinel_kwargs"]["password"]) == ("pw", 3, "other")


@every_source
def test_a_server_behind_sentinel_must_be_named(source: Callable[..., Celeriac]) -> None:
    with pytest.raises(SettingsError) as told:
        shop(broker=SENTINELS).settings  # noqa: B018
    assert [problem.split(": ")[:2] for problem in told.value.problems] == [
        ["broker_transport_options", "master_name is missing"]
    ]
    with pytest.raises(SettingsError, match="result_backend_transport_options: master_name is missing"):
        source(result_backend=SENTINELS).settings  # noqa: B018
    assert source(
        result_backend=SENTINELS, result_backend_transport_options={"master_name": "x"}
    ).settings.results.startswith("sentinel://")


def test_results_in_the_brokers_server_are_reached_as_the_broker_is() -> None:
    tls = {"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "required"}
    assert shop(broker_use_ssl=tls).conf.redis_backend_use_ssl == tls
    assert shop(broker_use_ssl=tls, redis_backend_use_ssl={"ssl_cert_reqs": "none"}).conf[
        "redis_backend_use_ssl"
    ] == {"ssl_cert_reqs": "none"}
    assert not shop(broker_use_ssl=tls, backend="redis://elsewhere").conf.redis_backend_use_ssl


def prefixes(app: Celeriac) -> tuple[str, ...]:
    conf = app.conf
    return (
        conf.broker_transport_options.get("global_keyprefix", ""),
        conf.result_backend_transport_options.get("global_keyprefix", ""),
        conf.redbeat_key_prefix,
    )


def test_there_is_no_prefix_unless_one_is_set() -> None:
    """Or an installation would not find its keys after an upgrade."""
    assert prefixes(shop()) == ("", "", "celeriac:redbeat:")


@every_source
def test_a_prefix_is_of_everything_in_redis(source: Callable[..., Celeriac]) -> None:
    expected = ("shop:", "shop:", "shop:celeriac:redbeat:")
    assert prefixes(source(celeriac_prefix="shop:")) == expected
    named = {"global_keyprefix": "shop:"}
    assert prefixes(source(broker_transport_options=named)) == expected
    assert prefixes(source(result_backend_transport_options=named)) == expected
    assert prefixes(source(result_backend_transport_options=named, celeriac_prefix="shop:")) == expected


def test_a_prefix_of_the_environment_is_of_everything_in_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERIAC_PREFIX", "shop:")
    assert prefixes(shop()) == ("shop:", "shop:", "shop:celeriac:redbeat:")
    other = {"global_keyprefix": "other:"}
    with pytest.raises(SettingsError, match="global_keyprefix: found 'other:', and elsewhere 'shop:'"):
        shop(broker_transport_options=other).settings  # noqa: B018


@every_source
def test_two_prefixes_are_refused_by_name(source: Callable[..., Celeriac]) -> None:
    values = {"result_backend_transport_options": {"global_keyprefix": "b:"}}
    for ours in ({"celeriac_prefix": "a:"}, {"broker_transport_options": {"global_keyprefix": "a:"}}):
        with pytest.raises(SettingsError) as told:
            source(**values, **ours).settings  # noqa: B018
        assert "transport_options: global_keyprefix: found" in str(told.value)
        assert "there is one prefix for all" in str(told.value)


@pytest.mark.parametrize("prefix", ["shop", "shop_", "sh*p:", ":", "a b:", "x" * 200 + ":", 7])
def test_a_prefix_that_is_none_is_refused_by_the_name_it_was_given(prefix: object) -> None:
    wanted = "wanted letters, digits and . _ / - : with a : at the end, such as shop:"
    with pytest.raises(SettingsError, match=rf"broker_transport_options: global_keyprefix: {wanted}"):
        shop(broker_transport_options={"global_keyprefix": prefix}).settings  # noqa: B018
    with pytest.raises(SettingsError, match=r"CELERIAC_PREFIX: "):
        shop(celeriac_prefix=prefix).settings  # noqa: B018


def test_a_transport_option_of_the_platforms_is_refused() -> None:
    with pytest.raises(SettingsError, match="broker_transport_options: sep: found ':'"):
        shop(broker_transport_options={"sep": ":"}).settings  # noqa: B018


def test_routes_of_the_team_are_asked_first() -> None:
    app = shop(task_routes={"shop.*": {"queue": "high"}})
    theirs, ours = app.amqp.routes
    assert theirs("shop.pay") == {"queue": "high"}
    assert ours("shop.pay", (), {}, {})["queue"].name == "celery"


def test_an_unknown_name_of_ours_is_refused_with_the_nearest() -> None:
    app = shop()
    app.config_from_object(SimpleNamespace(SHOP_CELERIAC_MAX_TRIE=3), namespace="SHOP")
    with pytest.raises(
        SettingsError,
        match="SHOP_CELERIAC_MAX_TRIE: there is no such setting; did you mean celeriac_max_tries",
    ):
        app.settings  # noqa: B018


def test_problems_of_all_sources_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERIAC_KEEP_DAYS", "none")
    app = shop(task_serializer="pickle", celeriac_max_tries=0)
    for _ in range(2):  # and again: what was refused is not in force at the second look
        with pytest.raises(SettingsError) as told:
            app.conf.task_serializer  # noqa: B018
        assert sorted(problem.split(":")[0] for problem in told.value.problems) == [
            "CELERIAC_KEEP_DAYS",
            "CELERIAC_MAX_TRIES",
            "task_serializer",
        ]


def test_the_same_setting_under_two_names_must_not_differ() -> None:
    with pytest.raises(SettingsError, match="result_expires and celeriac_result_ttl are the same setting"):
        shop(result_expires=60, celeriac_result_ttl=70).settings  # noqa: B018


def test_a_receiver_sees_what_was_checked() -> None:
    app, seen = shop(), []

    def see(sender: Celeriac, **_: Any) -> None:
        seen.append(sender.conf.beat_scheduler)

    app.on_after_configure.connect(see)
    assert app.settings.max_tries == 5
    assert seen == ["celeriac.schedules.scheduler:Scheduler"]


def test_defaults_of_the_team_do_not_hide_what_the_platform_needs() -> None:
    app = shop()
    assert app.conf.enable_utc
    app.add_defaults({"worker_concurrency": 3, "worker_consumer": "celery.worker.consumer:Consumer"})
    assert (app.conf.worker_concurrency, app.conf.worker_consumer) == (3, "celeriac.worker.consumer:Consumer")


# ---- what is written later


def test_a_second_configuration_takes_the_place_of_the_first() -> None:
    app = shop()
    assert app.settings.max_tries == 5
    app.config_from_object({"celeriac_max_tries": 7})
    assert app.settings.max_tries == 7
    assert app.conf.worker_consumer == "celeriac.worker.consumer:Consumer"


# ---- addresses


def test_nothing_is_read_or_written_before_the_first_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CELERIAC_MAX_TRIES", "none")
    app = Celeriac("shop", set_as_current=False)
    app.config_from_object("no.such.module", namespace="SHOP")
    app.task(name="shop.t", shared=False)(_work)
    assert not app.configured
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_is_named_in_the_code_alone_is_the_broker(tmp_path: Path) -> None:
    app = shop()
    assert app.settings.embedded_broker is False
    assert (app.connection_for_write().hostname, app.connection_for_write().virtual_host) == ("code", "1")
    assert app.settings.results == BROKER
    assert list(tmp_path.iterdir()) == []


def test_where_no_broker_is_named_nothing_is_written_and_nobody_listens(tmp_path: Path) -> None:
    """Only ``up`` and the demonstration start the private Valkey, and choose its address."""
    app = Celeriac("shop", ledger=LEDGER, set_as_current=False)
    assert app.settings.embedded_broker
    assert (app.connection_for_write().hostname, app.connection_for_write().port) == ("127.0.0.1", 1)
    assert (app.settings.results, app.settings.schedules_store) != (None, None)
    assert list(tmp_path.iterdir()) == []
    chosen = EmbeddedAddress.at(tmp_path)
    app.check_configuration()
    assert app.connection_for_write().port == chosen.port


def test_no_job_is_ended_by_a_limit_that_nobody_set() -> None:
    assert (shop().conf.task_time_limit, shop().settings.hard_limit) == (None, None)
    limited = shop(task_time_limit=77)
    assert (limited.conf.task_time_limit, limited.settings.hard_limit) == (77, 77)
    assert shop(celeriac_hard_limit=78).conf.task_time_limit == 78
    with pytest.raises(SettingsError, match="task_time_limit and celeriac_hard_limit are the same setting"):
        shop(task_time_limit=1, celeriac_hard_limit=2).settings  # noqa: B018


def test_the_environment_goes_first_for_the_urls_of_celery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://env:6379/2")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://env:6379/3")
    app = shop(backend="redis://code:6379/4")
    assert (app.settings.broker, app.settings.results) == ("redis://env:6379/2", "redis://env:6379/3")
    assert app.connection_for_write().hostname == "env"


@pytest.mark.parametrize("name", ["broker_read_url", "broker_write_url"])
def test_another_url_for_one_direction_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shop(**{name: BROKER}).settings.broker == BROKER
    with pytest.raises(SettingsError, match=f"{name}: a row's message must be where workers read"):
        shop(**{name: "redis://:hunter2@else/0"}).settings  # noqa: B018
    monkeypatch.setenv(f"CELERY_{name.upper()}", "redis://:hunter2@else/0")
    with pytest.raises(SettingsError, match="where workers read") as told:
        shop().settings  # noqa: B018
    assert "hunter2" not in str(told.value)


def test_the_ledger_is_named_by_the_constructor_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://host/shop")
    monkeypatch.setenv("CELERIAC_DATABASE_URL", "sqlite:////env/ledger.db")
    assert shop().settings.database.database == "/nowhere/ledger.db"
    assert shop(ledger=None).settings.database.database == "/env/ledger.db"
    monkeypatch.delenv("CELERIAC_DATABASE_URL")
    with pytest.raises(SettingsError, match=r"DATABASE_URL: .*CELERIAC_DATABASE_URL"):
        shop(ledger=None).settings  # noqa: B018
    assert shop().settings.database.database == "/nowhere/ledger.db", "it stops nothing"


def test_defaults_of_an_app_hold_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def modules(**options: Any) -> tuple[str, ...]:
        return shop(defaults={"task_modules": ("own",)}, **options).settings.task_modules

    assert modules() == ("own",)
    assert modules(celeriac_task_modules=("conf",)) == ("conf",)
    monkeypatch.setenv("CELERIAC_TASK_MODULES", "env")
    assert modules() == ("env",)


# ---- parts


def test_a_part_that_is_somebody_elses_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"amqp: wanted a subclass of celeriac\.enqueue\.door:AMQP"):
        shop(amqp="celery.app.amqp:AMQP").settings  # noqa: B018


class FlaskTask(CeleryTask):  # type: ignore[type-arg]
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)


def test_a_task_class_of_the_team_is_joined_with_ours() -> None:
    for given in (FlaskTask, f"{__name__}:FlaskTask"):
        app = shop(task_cls=given)
        task = app.task(name="shop.t", shared=False)(_work)
        assert isinstance(task, FlaskTask)
        assert (task.default_tries, task.refused) == (5, None)
    assert FlaskTask.__mro__[1] is CeleryTask, "the class itself is as it was"


def test_every_app_has_the_platforms_own_tasks_and_no_other() -> None:
    """In a process of its own: a shared task is one of every app, and other tests import some."""
    lines = 'from celeriac import Celeriac; print(*sorted(Celeriac("shop", set_as_current=False).tasks))'
    ran = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=300)
    ours = [name for name in ran.stdout.split() if not name.startswith("celery.")]
    assert ours == ["maintenance.alert", "maintenance.prune"]


def test_where_each_setting_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERIAC_KEEP_DAYS", "3")
    app = Celeriac("shop", set_as_current=False, broker=BROKER, ledger=LEDGER, defaults={"heartbeat": 2.0})
    app.conf.update(
        celeriac_max_tries=7, CELERIAC={"PREFIX": "shop:"}, worker_prefetch_multiplier=2, result_expires=5
    )
    found = {each.name: each.origin for each in settings_shown(app)}
    assert found["CELERIAC_MAX_TRIES"] == "celeriac_max_tries"
    assert found["CELERIAC_PREFIX"] == "CELERIAC['PREFIX']"
    assert found["CELERIAC_PREFETCH"] == "worker_prefetch_multiplier"
    assert found["CELERIAC_KEEP_DAYS"] == "the environment"
    assert found["CELERIAC_HEARTBEAT"] == "the app"
    assert found["CELERY_BROKER_URL"] == "broker_url"
    assert found["CELERIAC_DATABASE_URL"] == "celeriac_database_url"
    assert found["CELERIAC_LOG_FORMAT"] is None
    assert [each.value for each in settings_shown(app) if each.name == "CELERY_BROKER_URL"] == ["***"]


class Paused:
    """Called in the middle of something that a thread does, it lets another thread do as much as it can."""

    def __init__(self, other: Callable[[], object]) -> None:
        self._thread = threading.Thread(target=other)

    def __call__(self, **_: Any) -> dict[str, Any]:
        self._thread.start()
        self._thread.join(0.5)  # what it reads too early, it has read by then
        return {}

    def end(self) -> None:
        self._thread.join(60)


def test_a_task_that_is_bound_while_another_thread_reads_the_configuration_has_all_of_it() -> None:
    app = shop()

    @app.task(name="mail.send", shared=False)
    def send() -> None: ...

    assert app.Task  # with what it imports
    between = Paused(lambda: send.acks_late)
    app.add_defaults(between)  # asked when Celery's values are in force, and before the platform's are
    assert app.settings
    between.end()
    assert (send.acks_late, send.refused) == (True, None)


def test_two_threads_read_the_configuration_once() -> None:
    """Up to Python 3.11 a cached property of Celery's has a lock that makes sure of it."""
    app = shop()
    between = Paused(lambda: app.conf.enable_utc)
    app.on_configure.connect(between, weak=False)
    assert app.settings
    between.end()
    assert app.times_configured == 1
