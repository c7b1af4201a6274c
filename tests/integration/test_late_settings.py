"""Every setting of the Celery that is installed, written from every source: obeyed, or refused by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from celery import Task as CeleryTask
from celery.app.defaults import NAMESPACES, flatten

from celeriac import Celeriac
from celeriac.errors import BadArgument, SettingsError
from celeriac.settings.celery_settings import Verdict, ruling
from celeriac.settings.conf import Stage
from tests.unit.test_celery_settings import OTHER

BROKER, LEDGER = "redis://code:6379/1", "sqlite:////nowhere/ledger.db"
DEFAULTS = {name: option.default for name, option in flatten(NAMESPACES)}


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.startswith(("CELERY_", "CELERIAC_")) or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    yield
    sys.modules.pop("celeriac_of_a_test", None)


def shop(**options: Any) -> Celeriac:
    return Celeriac("shop", set_as_current=False, **{"broker": BROKER, "ledger": LEDGER, **options})


def used(**options: Any) -> Celeriac:
    """An app whose every part has been made."""
    app = shop(**options)
    assert app.settings
    assert app.timezone
    assert app.control
    assert app.amqp.send_task_message
    assert app.amqp.queues
    assert app.backend
    assert app.database
    assert app.pool
    return app


def module(values: Mapping[str, Any]) -> str:
    made = ModuleType("celeriac_of_a_test")
    vars(made).update(values)
    sys.modules[made.__name__] = made
    return made.__name__


def by_constructor(values: Mapping[str, Any]) -> Celeriac:
    return shop(**values)


def by_early_update(values: Mapping[str, Any]) -> Celeriac:
    app = shop()
    app.conf.update(values)
    return app


def by_early_items(values: Mapping[str, Any]) -> Celeriac:
    app = shop()
    for name, value in values.items():
        app.conf[name] = value
    return app


def by_defaults(values: Mapping[str, Any]) -> Celeriac:
    app = Celeriac("shop", set_as_current=False, ledger=LEDGER)
    app.add_defaults(dict({"broker_url": BROKER}, **values))
    return app


def _configured(given: Any, **options: Any) -> Celeriac:
    app = Celeriac("shop", set_as_current=False, ledger=LEDGER)
    app.config_from_object(given, **options)
    return app


def by_object(values: Mapping[str, Any]) -> Celeriac:
    return _configured(SimpleNamespace(**{"broker_url": BROKER, **values}))


def by_class(values: Mapping[str, Any]) -> Celeriac:
    return _configured(type("Config", (), {"broker_url": BROKER, **values}))


def by_dict(values: Mapping[str, Any]) -> Celeriac:
    return _configured({"broker_url": BROKER, **values})


def by_module(values: Mapping[str, Any]) -> Celeriac:
    return _configured(module({"broker_url": BROKER, **values}))


def by_namespace(values: Mapping[str, Any]) -> Celeriac:
    named = {f"SHOP_{name.upper()}": value for name, value in {"broker_url": BROKER, **values}.items()}
    return _configured(SimpleNamespace(**named), namespace="SHOP")


def by_late_update(values: Mapping[str, Any]) -> Celeriac:
    app = used()
    app.conf.update(values)
    return app


def by_late_items(values: Mapping[str, Any]) -> Celeriac:
    app, problems = used(), []
    for name, value in values.items():
        try:
            app.conf[name] = value
        except SettingsError as exc:
            problems += exc.problems
    if problems:
        raise SettingsError(problems)
    return app


def by_late_attributes(values: Mapping[str, Any]) -> Celeriac:
    app, problems = used(), []
    for name, value in values.items():
        try:
            setattr(app.conf, name, value)
        except SettingsError as exc:
            problems += exc.problems
    if problems:
        raise SettingsError(problems)
    return app


def by_late_defaults(values: Mapping[str, Any]) -> Celeriac:
    app = Celeriac("shop", set_as_current=False, ledger=LEDGER, defaults={})
    app.config_from_object({})
    app.conf.finalize()
    app.add_defaults(dict({"broker_url": BROKER}, **values))
    return app


def by_second_object(values: Mapping[str, Any]) -> Celeriac:
    app = Celeriac("shop", set_as_current=False, ledger=LEDGER)
    app.config_from_object({"broker_url": BROKER, "task_compression": "bzip2"})
    assert app.settings
    app.config_from_object({"broker_url": BROKER, **values})
    return app


SOURCES: tuple[Callable[[Mapping[str, Any]], Celeriac], ...] = (
    *(by_constructor, by_early_update, by_early_items, by_defaults, by_object, by_class, by_dict, by_module),
    *(by_namespace, by_late_update, by_late_items, by_late_attributes, by_late_defaults, by_second_object),
)
every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)

#: Read as they are elsewhere: files that must exist; two names for one setting; a place that is no server.
ELSEWHERE = {"security_key", "security_certificate", "security_cert_store", "deprecated_settings"}

#: What a value must look like, where its type does not say it.
VALUES: dict[str, Any] = {
    "broker_url": "redis://elsewhere:6379/2",
    "broker_transport_options": {"visibility_timeout": 77},
    "broker_use_ssl": {"ssl_cert_reqs": "none"},
    "result_backend": "redis://elsewhere:6379/3",
    "timezone": "Europe/Rome",
    "result_backend_transport_options": {"retry_policy": {"timeout": 7}},
    "result_expires": 77,
    "beat_schedule": {"each-minute": {"task": "shop.t", "schedule": 60}},
    "task_annotations": {"shop.t": {"rate_limit": "1/s"}},
    "task_default_priority": 20,
    "task_routes": {"shop.*": {"queue": "high"}},
    "imports": ("json",),
    "include": ("json",),
    "task_default_rate_limit": "7/s",
    "worker_concurrency": 3,
}


def another(name: str) -> Any:
    """A value of the setting that is not its default."""
    default = DEFAULTS[name]
    if name in VALUES:
        return VALUES[name]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int | float):
        return default + 7
    return 7 if name.endswith(("timeout", "limit", "expires", "ttl", "child")) else "other"


def of_verdict(*verdicts: Verdict) -> dict[str, Any]:
    names = [name for name in DEFAULTS if (found := ruling(name)) is not None and found.verdict in verdicts]
    return {name: another(name) for name in names if name not in ELSEWHERE}


OBEYED = of_verdict(Verdict.OBEYED, Verdict.OURS)
OWN = {name: OTHER[name] for name in of_verdict(Verdict.OWN)}
MET = of_verdict(Verdict.MET, Verdict.UNREAD)

#: Into which the platform's own part is merged.
MERGED = {"broker_transport_options", "result_backend_transport_options"}


@every_source
def test_every_setting_that_is_obeyed_is_in_force(source: Callable[..., Celeriac]) -> None:
    conf = source(OBEYED).conf
    assert {name: conf[name] for name in OBEYED if name not in MERGED} == {
        name: value for name, value in OBEYED.items() if name not in MERGED
    }
    assert conf.broker_transport_options["visibility_timeout"] == 77
    assert conf.result_backend_transport_options["retry_policy"] == {"timeout": 7}


@every_source
def test_every_setting_of_the_platforms_own_is_refused_by_name(source: Callable[..., Celeriac]) -> None:
    with pytest.raises(SettingsError) as told:
        assert source(OWN).settings
    assert sorted(problem.split(":")[0] for problem in told.value.problems) == sorted(OWN)


@every_source
def test_every_setting_that_is_met_anyway_is_taken(source: Callable[..., Celeriac]) -> None:
    assert source(MET).settings.broker == BROKER


# ---- late writes


def write_attribute(app: Celeriac, name: str, value: Any) -> None:
    setattr(app.conf, name, value)


def write_item(app: Celeriac, name: str, value: Any) -> None:
    app.conf[name] = value


def write_update(app: Celeriac, name: str, value: Any) -> None:
    app.conf.update({name: value})


def write_keyword(app: Celeriac, name: str, value: Any) -> None:
    app.conf.update(**{name: value})


def write_pairs(app: Celeriac, name: str, value: Any) -> None:
    app.conf.update([(name, value)])


def write_command_line(app: Celeriac, name: str, value: Any) -> None:
    app.config_from_cmdline([f"{name}={value}"], namespace="worker")


def write_object(app: Celeriac, name: str, value: Any) -> None:
    app.config_from_object({name: value})


WRITERS = (write_attribute, write_item, write_update, write_keyword, write_pairs, write_command_line)
every_writer = pytest.mark.parametrize("write", [*WRITERS, write_object], ids=lambda writer: writer.__name__)


def parts(app: Celeriac) -> tuple[Any, ...]:
    """What has read the settings."""
    broker = app.connection_for_write()
    producers = app.amqp.producer_pool.connections.connection
    return (broker.hostname, producers.hostname, app.pool.connection.hostname, app.settings.brokers[0].host)


@every_writer
def test_a_late_broker_is_the_broker_of_every_part(write: Callable[..., None]) -> None:
    app = Celeriac("shop", set_as_current=False, ledger=LEDGER)
    app.config_from_object({"broker_url": BROKER})
    assert parts(app) == ("code",) * 4
    write(app, "broker_url", "redis://late:6379/5")
    assert parts(app) == ("late",) * 4
    assert (app.conf.broker_url, app.conf["broker_url"]) == ("redis://late:6379/5",) * 2


@every_writer
def test_a_late_setting_of_the_platforms_is_in_force_at_once(write: Callable[..., None]) -> None:
    app = used()
    door, database = app.amqp.door, app.database
    write(app, "celeriac_max_tries", 7)
    assert app.settings.max_tries == 7
    assert app.amqp.door is not door
    assert app.database is database
    write(app, "celeriac_database_pool", 9)
    assert app.database is not database


@every_writer
def test_a_late_value_of_the_platforms_own_is_refused_and_nothing_changes(write: Callable[..., None]) -> None:
    app = used()
    before = dict(app.conf.items())
    for _ in range(2):
        with pytest.raises(SettingsError, match="worker_direct: found True"):
            write(app, "worker_direct", True)
    assert app.conf.worker_direct is False
    assert {name: app.conf[name] for name in before if "redbeat" not in name} == {
        name: value for name, value in before.items() if "redbeat" not in name
    }


def test_all_of_an_update_is_refused_with_what_is_wrong_in_it() -> None:
    app = used()
    with pytest.raises(SettingsError) as told:
        app.conf.update(task_time_limit=5, task_acks_late=False, celeriac_keep_days=-1)
    assert len(told.value.problems) == 2
    assert app.conf.task_time_limit != 5


def test_what_is_taken_back_is_as_it_was() -> None:
    app = used()
    app.conf.celeriac_max_tries = 7
    del app.conf["celeriac_max_tries"]
    assert app.settings.max_tries == 5
    app.conf.update(celeriac_max_tries=8, task_compression="gzip")
    assert app.conf.pop("task_compression") == "gzip"
    assert app.conf.task_compression is None
    app.conf.clear()
    assert app.settings.max_tries == 5


def test_a_copy_of_the_configuration_has_what_is_in_force() -> None:
    app = shop()
    copied = app.conf.copy()
    assert copied.task_acks_late is True
    copied["task_acks_late"] = False
    assert app.conf.task_acks_late is True


# ---- tasks


def _work() -> None:
    """Never run."""


@every_writer
def test_a_late_setting_reaches_tasks_that_are_bound(write: Callable[..., None]) -> None:
    app = used()
    task = app.task(name="shop.t", shared=False)(_work)
    own = app.task(name="shop.own", shared=False, rate_limit="5/m")(_work)
    assert (task.rate_limit, own.rate_limit) == (None, "5/m")
    write(app, "task_default_rate_limit", "3/s")
    assert (task.rate_limit, own.rate_limit) == ("3/s", "5/m")


def test_late_annotations_take_the_place_of_the_first() -> None:
    app = used(task_annotations={"shop.t": {"rate_limit": "1/s", "max_tries": 2}})
    task = app.task(name="shop.t", shared=False)(_work)
    assert (task.rate_limit, task.default_tries) == ("1/s", 2)
    app.conf.task_annotations = {"shop.t": {"max_retries": 3}}
    assert (task.rate_limit, task.default_tries) == (None, 4)
    app.conf.task_annotations = {"*": {"acks_late": False}}
    assert "acks_late" in str(task.refused)
    app.conf.task_annotations = None
    assert (task.refused, task.default_tries) == (None, 5)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"max_tries": 0}, "max_tries: wanted a number of at least 1"),
        ({"timeout": "soon"}, "timeout: wanted a number"),
        ({"priority": "urgent"}, "priority: wanted one of"),
        ({"acks_late": False}, "acks_late: the ledger needs late acknowledgement"),
    ],
)
def test_an_annotation_that_cannot_be_right_refuses_that_task_alone(
    said: dict[str, Any], sentence: str
) -> None:
    app = used(task_annotations={"shop.t": said})
    bad, good = app.task(name="shop.t", shared=False)(_work), app.task(name="shop.u", shared=False)(_work)
    app.finalize()
    assert sentence in str(bad.refused)
    assert good.refused is None


def test_an_annotation_counts_like_what_the_class_says() -> None:
    app = used(task_annotations={"shop.t": {"max_retries": 8, "priority": "high"}})
    task = app.task(name="shop.t", shared=False)(_work)
    assert task.default_tries == 9
    assert isinstance(task.__class__.max_retries, property), "it knows the running job's limit"
    assert task._get_exec_options()["priority"] == 20


def test_the_default_priority_is_that_of_tasks_without_one() -> None:
    app = used(task_default_priority=20)
    task = app.task(name="shop.t", shared=False)(_work)
    low = app.task(name="shop.u", shared=False, priority="low")(_work)
    assert (task._get_exec_options()["priority"], low._get_exec_options()["priority"]) == (20, 0)


def test_what_is_set_on_a_task_is_obeyed_or_refused() -> None:
    app = used()
    task = app.task(name="shop.t", shared=False)(_work)
    assert task._get_exec_options()["priority"] is None
    task.priority = "high"
    task.compression = "gzip"
    found = task._get_exec_options()
    assert (found["priority"], found["compression"]) == (20, "gzip")
    for name, value in (("acks_late", False), ("priority", "urgent"), ("max_tries", 0), ("timeout", "x")):
        with pytest.raises(BadArgument, match=name):
            setattr(task, name, value)
    assert task.acks_late is True


def test_what_is_set_on_a_tasks_class_is_obeyed_or_refused() -> None:
    app = used()

    class Mail(CeleryTask):  # type: ignore[type-arg]
        name = "shop.mail"

        def run(self) -> None:
            """Never run."""

    task: Any = app.register_task(Mail())
    type(task).max_retries, type(task).priority = 7, "low"
    assert task.default_tries == 8
    assert task._get_exec_options()["priority"] == 0
    type(task).acks_late = False
    task.judge()
    assert "acks_late" in task.refused


# ---- a worker


@pytest.mark.parametrize(
    ("stage", "name", "value"),
    [
        (Stage.CHOSEN, "worker_concurrency", 3),
        (Stage.CHOSEN, "task_routes", {"shop.*": {"queue": "high"}}),
        (Stage.RUNS, "broker_url", "redis://late/0"),
        (Stage.RUNS, "celeriac_max_tries", 7),
        (Stage.RUNS, "task_time_limit", 7),
        (Stage.RUNS, "timezone", "Europe/Rome"),
    ],
)
def test_what_a_worker_has_read_cannot_change(stage: Stage, name: str, value: Any) -> None:
    app = used()
    before = app.conf.get(name)
    app.stage = stage
    for write in (write_attribute, write_update):
        with pytest.raises(SettingsError, match=f"{name}: "):
            write(app, name, value)
    assert app.conf.get(name) == before
    with pytest.raises(SettingsError, match=f"{name}: "):  # which Celery has logged in a receiver
        app.check_configuration()


def test_what_nothing_has_read_may_change_in_a_worker() -> None:
    app = used()
    app.stage = Stage.RUNS
    app.conf.task_always_eager = True
    app.conf.something_of_the_team = 3
    assert (app.conf.task_always_eager, app.conf.something_of_the_team) == (True, 3)


def test_a_second_configuration_is_refused_whole_when_a_worker_runs() -> None:
    app = used()
    app.stage = Stage.RUNS
    with pytest.raises(SettingsError, match="task_time_limit"):
        app.config_from_object({"task_time_limit": 7})
    assert app.conf.task_time_limit != 7
    assert app.conf.worker_consumer == "celeriac.worker.consumer:Consumer"
