"""``app.conf``: what is written to it after it was read is obeyed at once, or refused by name.

Celery takes such a write and reads many settings only once, so that it would be dropped without a word.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, TypeVar

from celery import VERSION
from celery.app.defaults import SETTING_KEYS
from celery.app.utils import Settings as CelerySettings
from kombu.utils.imports import symbol_by_name

from celeriac.errors import SettingsError

_Result = TypeVar("_Result")


class Stage(IntEnum):
    """How far a worker or a beat of this process has come: what it has read by then cannot change."""

    NONE = 0  # there is none
    STARTS = 1  # receivers of ``celeryd_init`` may still set everything
    CHOSEN = 2  # its options and queues are chosen; receivers of ``worker_init`` may set the others
    RUNS = 3


def _matching(*patterns: str) -> frozenset[str]:
    return frozenset(name for name in SETTING_KEYS if any(fnmatchcase(name, each) for each in patterns))


@cache
def _of_tasks() -> frozenset[str]:
    """What is read when a task is bound to its app."""
    from celery.app.task import Task  # with all of Celery's canvas: a command that only reads has no task

    return frozenset(name for _, name in Task.from_config) | {"task_annotations"}


@cache
def _of_queues() -> frozenset[str]:
    """What is read when the queues are made."""
    return _matching(
        *("task_queues", "task_routes", "task_default_queue", "task_default_exchange*"),
        *("task_default_routing_key", "task_create_missing_queue*", "task_queue_max_priority"),
    )


@cache
def _of_connections() -> frozenset[str]:
    """What is read when the first job is sent, or the first result is asked for."""
    return _matching(
        *("broker_*", "result_*", "redis_*", "control_*", "event_*", "security_*", "timezone", "enable_utc"),
        *("accept_content", "task_compression", "task_publish_retry*", "task_default_delivery_mode"),
        *("task_send_sent_event", "task_protocol", "task_inherit_parent_priority"),
    )


@cache
def _of_options() -> frozenset[str]:
    """What a worker reads before it sends ``worker_init``."""
    return _matching(
        *("worker_concurrency", "worker_send_task_events", "worker_pool*", "worker_consumer"),
        *("worker_timer*", "worker_autoscaler", "worker_state_db", "worker_max_*"),
        *("worker_prefetch_multiplier", "worker_disable_rate_limits", "worker_lost_wait"),
        *("worker_redirect_stdouts*", "task_time_limit", "task_soft_time_limit", "beat_scheduler"),
        *("beat_schedule_filename", "worker_direct"),
    )


@cache
def _watched() -> frozenset[str]:
    parts = (_of_tasks(), _of_queues(), _of_connections(), _of_options(), _matching("worker_*", "beat_*"))
    found: frozenset[str] = frozenset().union(*parts) & SETTING_KEYS
    return found


_TOO_LATE = {
    Stage.CHOSEN: "the worker has read it; set it where the app is made, or in a receiver of celeryd_init",
    Stage.RUNS: "it is read when a worker or a beat starts, and one runs; set it where the app is made",
}


class Conf(CelerySettings):
    """Celery's settings of one app. A write that is refused leaves them as they were.

    Raises, from every method that writes:
        SettingsError: with every problem at once.
    """

    #: Whose it is; None while it is being made.
    _app: Any = None

    if VERSION[:2] < (5, 7):  # since then it is Celery's own, which is read some times in each call

        def __getitem__(self, key: str) -> Any:
            """Layer by layer, as in Celery 5.7: a name with a namespace hid all layers above its own."""
            names = dict.fromkeys((*self._to_keys(key), *(read(key) for read in vars(self)["_keys"] or ())))
            for layer in self.maps:
                for name in names:
                    with suppress(KeyError):
                        return layer[self._key(name)]
            return self.__missing__(key)

    def update(self, *args: Any, **kwargs: Any) -> Any:
        return self._write(lambda: super(Conf, self).update(*args, **kwargs))

    def __setitem__(self, key: str, value: Any) -> None:
        self._write(lambda: super(Conf, self).__setitem__(key, value))

    def __delitem__(self, key: str) -> None:
        self._write(lambda: super(Conf, self).__delitem__(key))

    def pop(self, key: str, *default: Any) -> Any:
        return self._write(lambda: self.changes.pop(key, *default))

    def clear(self) -> None:
        self._write(self.changes.clear)

    def add_defaults(self, d: Any) -> None:
        self._write(lambda: super(Conf, self).add_defaults(d))

    def copy(self) -> CelerySettings:
        """What is in force, as settings that nobody obeys."""
        self.finalize()
        return Conf({}, list(self.maps), vars(self)["_keys"], self.prefix)

    __copy__ = copy

    def _write(self, write: Callable[[], _Result]) -> _Result:
        app = self._app
        if app is None or app._settings is None:  # it was not read yet, and is judged when it is
            return write()
        with app._lock:
            kept, before = (dict(self.changes), list(self.defaults)), in_force(app)
            try:
                result = write()
                app._configure()
                obey(app, before)
            except BaseException as exc:  # raised again: whatever it is, the write is taken back
                self.changes.clear()
                self.changes.update(kept[0])
                self.defaults[:] = kept[1]
                app._configure()
                _remember(app, exc)
                raise
            return result


def conf_of(app: Any, given: CelerySettings) -> Conf:
    """``given`` as the configuration of ``app``."""
    conf = Conf(given.changes, given.defaults, vars(given)["_keys"], given.prefix)
    conf.__dict__["_app"] = app
    return conf


def own_arguments(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The platform's settings among the arguments behind ``--``, and the others, which Celery reads.

    >>> own_arguments(["celeriac.max_tries=3", "worker.lost_wait=1"])
    ({'celeriac_max_tries': '3'}, ['worker.lost_wait=1'])
    """
    pairs = [(*argument.partition("="), argument) for argument in arguments]
    named = [(name.lower().replace(".", "_"), value, argument) for name, _, value, argument in pairs]
    own = {name: value for name, value, _ in named if name.startswith("celeriac_")}
    return own, [argument for name, _, argument in named if name not in own]


@contextmanager
def restored_if_refused(app: Any) -> Iterator[None]:
    """A second configuration is read in the block: obey it, or put back the first one, and raise."""
    before, names = in_force(app), ("_conf", "_settings", "_config_source", "namespace", "configured")
    kept, loaded = {name: getattr(app, name) for name in names}, app.loader._conf
    try:
        yield
        obey(app, before)
    except BaseException as exc:  # raised again: whatever it is, the first configuration is put back
        app.__dict__.update(kept)
        app.loader._conf = loaded
        _remember(app, exc)
        raise


def _remember(app: Any, error: BaseException) -> None:
    """Keep a refusal for when the worker begins: Celery logs what a receiver raises, and goes on."""
    if isinstance(error, SettingsError) and app.stage is not Stage.NONE:
        app.refused_writes += error.problems


class Later:
    """A setting of a layer that is made when it is first asked for."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


class Layer(dict[str, Any]):
    """A layer of ``app.conf`` that is the platform's."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, Later):
            value = self[name] = value.make()
        return value


def of_the_team(conf: Any) -> CelerySettings:
    """What somebody set: neither a default of Celery's nor a value of the platform's."""
    layers = [layer for layer in conf.defaults[:-1] if not isinstance(layer, Layer)]
    return Conf(conf.changes, layers, vars(conf)["_keys"], prefix=conf.prefix)


def in_force(app: Any) -> dict[str, Any]:
    """What the team says of all settings that are read only once, and the platform's own."""
    theirs, own = of_the_team(app.conf), app.settings.model_dump(exclude={"broker_url", "result_backend"})
    said = {name: theirs.get(name) for name in _watched()}
    return said | {f"celeriac_{name}": value for name, value in own.items()}


def obey(app: Any, before: Mapping[str, Any]) -> None:
    """Let what has read a setting that changed since ``before`` read it again.

    Raises:
        SettingsError: a worker or a beat runs, and what it has read cannot change.
    """
    now = in_force(app)
    changed = {name for name in now if now[name] != before.get(name)}
    if problems := [f"{name}: {_TOO_LATE[app.stage]}" for name in sorted(_fixed(app, changed))]:
        raise SettingsError(problems)
    if changed:
        _forget(app, queues=bool(changed & _of_queues()))
    if changed & _of_tasks():
        for task in app._tasks.values():
            task._bind_again()


def _fixed(app: Any, changed: Collection[str]) -> Collection[str]:
    if app.stage is Stage.RUNS:
        return changed
    return {*changed} & (_of_options() | _of_queues()) if app.stage is Stage.CHOSEN else ()


def _forget(app: Any, *, queues: bool) -> None:
    """Drop what was made from the settings; it is made again when it is used. Who holds a part keeps it."""
    for name in ("timezone", "control", "annotations"):
        app.__dict__.pop(name, None)
    app._pool = app._backend_cache = None
    app._local = threading.local()
    app._forget_database()
    if (amqp := app.__dict__.get("amqp")) is not None:
        for name in ("send_task_message", "door", "utc", "_event_dispatcher", "create_task_message"):
            amqp.__dict__.pop(name, None)
        amqp._producer_pool = None
        if queues:
            for name in ("queues", "router", "default_queue", "default_exchange"):
                amqp.__dict__.pop(name, None)
            amqp._rtable = None


@contextmanager
def unread_if_refused(app: Any) -> Iterator[None]:
    """The configuration is read in the block. If it is refused, it is as if it had not been read.

    Whoever asks next is told the same, and not given what was never checked.
    """
    conf, state = app._conf, dict(app._conf.__dict__)
    promised = app._pending_defaults.copy(), app._pending_periodic_tasks.copy()
    try:
        yield
    except BaseException as exc:  # raised again: whatever it is, nothing was read
        app._conf, app.configured = conf, False
        conf.__dict__.update(state)
        app._pending_defaults, app._pending_periodic_tasks = promised
        if isinstance(exc, SettingsError):
            symbol_by_name("celeriac.cli.celery_commands:end")(exc)
        raise


@contextmanager
def muted(signal: Any) -> Iterator[None]:
    """Receivers of ``signal`` are not called while the block runs."""
    signal.send = lambda **_: []
    try:
        yield
    finally:
        del signal.send
