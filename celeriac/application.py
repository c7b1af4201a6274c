"""The Celery app class: Celery, with a ledger."""

from __future__ import annotations

import difflib
import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery import current_app as celery_app
from celery.app.utils import Settings as CelerySettings
from kombu.utils.imports import symbol_by_name
from kombu.utils.objects import cached_property

from celeriac.broker_state import BrokerState, broker_errors
from celeriac.coroutines import current_worker_task, refuse_async_generator
from celeriac.errors import BadArgument, NoAppMade, SettingsError, UnknownTask
from celeriac.ids import new_id
from celeriac.ledger.connection.framework import Framework, make_database
from celeriac.named_calls import options_of, wanted_id
from celeriac.no_app import module_of, place_of, stand_in, unpickled
from celeriac.settings import conf

if TYPE_CHECKING:
    from celery import result

    from celeriac.ledger.connection.database import Database
    from celeriac.settings.platform import Settings

#: What every app is given when it is made. By name, as Celery names its own parts: they build on the app.
_GIVEN = (
    "celeriac.maintenance:register",
    "celeriac.observe.flower_guard:register",
    "celeriac.cli.celery_commands:prepare",
)
_RESULT = "celeriac.task.results.awaited:AsyncResult"


class Celeriac(Celery):
    """Celery, whose every job is a row before it is a message. Made as a Celery app is made.

    Nothing is read or connected before it is used: configuration, broker, database, keys for signing.

        app = Celeriac("shop", broker="redis://localhost/0", ledger="postgresql://localhost/shop")

    Args:
        main: its name, with which the names of tasks begin in a script.
        ledger: the URL of the ledger's database, PostgreSQL or SQLite; also ``celeriac_database_url``.
        defaults: settings of the platform (``{"task_modules": ["tasks"]}``), which hold where neither the
            configuration nor the environment says another.
        settings: all of them, in place of the environment.
        set_as_current: whether it is the current app of this thread, and of those that have none.
        options: whatever ``Celery`` takes: ``broker``, ``backend``, ``include``, ``task_cls``, each setting
            of Celery and of the platform (``celeriac_max_tries=3``).

    Raises, when the configuration is first used:
        SettingsError: with every problem of the configuration and the environment at once.

    >>> shop = Celeriac("shop", set_as_current=False)
    >>> shop.config_from_object({"celeriac_max_tries": 4})
    >>> shop.config_from_cmdline(["celeriac.max_tries=3"])
    >>> shop.settings.max_tries
    3
    >>> shop.close()
    """

    broker_state: BrokerState
    broker_errors = property(broker_errors)
    #: What records outcomes: a ``celeriac.worker.gate.ledger_thread``, in a worker's main process only.
    ledger_thread: Any
    #: What traces jobs, a ``celeriac.observe.traces``, from when the settings are read; None: nothing does.
    tracing: Any = None
    amqp_cls = "celeriac.enqueue.door:AMQP"
    control_cls = "celeriac.operate.remote_control:Control"
    log_cls = "celeriac.observe.log_setup:Logging"
    registry_cls = "celeriac.task.registration:Registry"
    #: The integration of the web framework that the project uses, from when the settings are read.
    framework: Framework | None = None
    #: A result store in place of the configured one; see ``celeriac.testing``.
    private_backend: Any = None

    _conf: Any  # Celery's own, as the two that follow, for the type checker
    _pending_defaults: Any
    _pending_periodic_tasks: Any
    times_configured = 0  # how often it was read: what was kept of an earlier time no longer holds
    _settings: Settings | None = None
    _database: Database | None = None
    _made_with: dict[str, Any] | None = None  # the options of the database; None: somebody gave it
    #: Whether a worker or a beat of this process has read the settings, and what it is told of late ones.
    stage: conf.Stage = conf.Stage.NONE
    async_concurrency: int | None = None  # of ``--async-concurrency``; None: the setting holds

    def __init__(
        self,
        main: str | None = None,
        *args: Any,
        ledger: str | None = None,
        defaults: Mapping[str, Any] | None = None,
        settings: Settings | None = None,
        set_as_current: bool = True,
        **options: Any,
    ) -> None:
        self.given_defaults = dict(defaults or {})
        self.given_settings = settings
        self.broker_state = BrokerState()
        self._identity = new_id()  # in this process and in those that it forks
        self._made_in = module_of(inspect.currentframe())
        self._lock = threading.RLock()
        self.refused_writes: list[str] = []
        super().__init__(main, *args, set_as_current=set_as_current, celeriac_database_url=ledger, **options)
        self._conf = conf.conf_of(self, self._conf)
        if set_as_current:
            self.set_default()  # of all threads: Celery's current app is that of the thread which made it
        for part in _GIVEN:
            symbol_by_name(part)(self)

    # ---- its configuration

    @property
    def settings(self) -> Settings:
        """The platform's settings, read with the rest of the configuration.

        Raises:
            SettingsError: with every problem at once.

        >>> current_app().settings.heartbeat  # seconds
        3.0
        """
        if self._settings is None:
            with self._lock:
                self.conf.finalize()
        assert self._settings is not None
        return self._settings

    @property
    def database(self) -> Database:
        """The ledger's database; nothing is connected yet."""
        if self._database is None:
            with self._lock:
                self._database = self._database or self._make_database()
        return self._database

    @database.setter
    def database(self, database: Database) -> None:
        self._database, self._made_with = database, None

    def _make_database(self) -> Database:
        self._made_with = self._database_options()
        return make_database(self.framework, self._made_with)

    def _database_options(self) -> dict[str, Any]:
        settings = self.settings
        return {
            **settings.ledger,
            "pool": settings.database_pool,
            "prepared": settings.prepared_statements,
            "patience": settings.enqueue_timeout * 0.8,
        }

    def close(self) -> None:
        """As Celery's, and close the connections to broker, ledger and result store, until their next use."""
        if (amqp := self.__dict__.get("amqp")) is not None:
            amqp.kept_producers.close()
        super().close()
        for store in filter(None, (self._database, self._backend)):
            store.close()

    def check_configuration(self) -> None:
        """Read it again, with the environment. For when work begins.

        Raises:
            SettingsError: with every problem at once, also of what was written while a worker started.
        """
        with self._lock:
            self.settings  # noqa: B018  # read, if it was not
            self._configure()
            self._forget_database()
            problems, self.refused_writes = self.refused_writes, []
        if problems:
            raise SettingsError(problems)

    def _forget_database(self) -> None:
        """Drop the ledger's database if the settings say other things of it since it was made."""
        if self._database is not None and self._made_with not in (None, self._database_options()):
            self._database.close()
            self._database = None

    def config_from_object(self, *args: Any, **options: Any) -> Any:
        """As Celery's. What was read before is read again, or the new object is refused by name.

        Raises:
            SettingsError: a second one has a problem, or comes when a worker runs; the first one holds.
        """
        if self._settings is None:
            return super().config_from_object(*args, **options)
        with self._lock, conf.restored_if_refused(self):
            return super().config_from_object(*args, **options)

    def config_from_cmdline(self, argv: Sequence[str], namespace: str = "celery") -> None:
        """As Celery's, for what follows ``--``: also ``celeriac.max_tries=3``."""
        own, others = conf.own_arguments(argv)
        super().config_from_cmdline(others, namespace)
        self.conf.update(own)

    def _configure(self) -> None:
        self.times_configured += 1
        self._settings = symbol_by_name("celeriac.configuration:configure")(self)

    def _load_config(self) -> Any:
        """As Celery's. Receivers of ``on_after_configure`` see what was checked, with our values."""
        times = self.times_configured
        with self._lock:
            if times != self.times_configured and self._settings:  # by another thread, while this one waited
                return self._conf
            self._settings = None
            if self._conf is None:  # which a second ``config_from_object`` makes it
                self._conf = conf.conf_of(self, CelerySettings({}))
            with conf.unread_if_refused(self), conf.muted(self.on_after_configure):
                loaded = super()._load_config()
                self._configure()
            self.on_after_configure.send(sender=self, source=loaded)
            return loaded

    def add_defaults(self, fun: Any) -> Any:
        """As Celery's; what the platform needs stays above them."""
        if not self.configured:
            return super().add_defaults(fun)
        return self.conf.add_defaults(fun() if callable(fun) else fun)

    @property
    def backend(self) -> Any:
        return self.private_backend or super().backend

    AsyncResult = cached_property(lambda self: self.subclass_with_self(_RESULT))

    @cached_property
    def Worker(self) -> Any:  # noqa: N802  # Celery's name for it
        return self.subclass_with_self("celeriac.worker.program:Worker")

    def _get_backend(self) -> Any:
        # Not by the URL: CELERY_RESULT_BACKEND, which Celery reads first, would bring its own class.
        return symbol_by_name("celeriac.task.results.stores:store_at")(self, self.settings.results)

    # ---- its tasks

    def create_task_cls(self) -> Any:
        """The base class of its tasks: ours, joined with the team's own ``task_cls``."""
        own = symbol_by_name("celeriac.task.registration:base_of_tasks")(self.task_cls)
        return self.subclass_with_self(own, name="Task", attribute="_app", keep_reduce=True, abstract=True)

    def task(self, *args: Any, **options: Any) -> Any:
        """Celery's decorator; the options are the attributes of ``Task``, and Celery's.

        Raises:
            BadArgument: it is put on an ``async def`` that yields.

        >>> @app.task(name="mail.goodbye", priority="low", timeout=30)
        ... def goodbye(user_id): ...
        >>> result = goodbye.delay(7)
        >>> kit.assert_enqueued(goodbye, 7).queue
        'low'
        """

        def decorate(function: Any) -> Any:
            refuse_async_generator(str(options.get("name") or function), function)
            return make(function) if make else super(Celeriac, self).task(function)

        make = None if args else super().task(**options)
        return decorate(*args) if args else decorate

    current_worker_task = property(current_worker_task)

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        countdown: float | None = None,
        eta: Any = None,
        task_id: str | None = None,
        *rest: Any,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> result.AsyncResult[Any]:
        """Enqueue a job by its task's name; the options are those of ``Task.apply_async``.

        The task's signature and its own defaults are not asked: ``enqueue_by_name`` does that.

        Raises:
            UnknownTask: there is no such task here, nor do the settings say that it is elsewhere.
            BadArgument, PayloadTooLarge, LedgerUnavailable, EnqueueUncertain: as ``Task.apply_async``.

        >>> result = app.send_task("mail.welcome", (7,), priority="high")
        >>> kit.assert_enqueued("mail.welcome", 7).queue
        'high'
        """
        from celeriac.limits.answer import awaiting_answer  # with all about unique jobs

        _ = self.settings  # before anything of Celery's asks ``conf``: another thread may be reading it
        self._require(name)
        self._check(eta, options)
        task_id = wanted_id(self.current_worker_task, name, task_id, idempotency_key)
        options |= {} if idempotency_key is None else {"idempotency_key": idempotency_key}
        options = options_of(self.tasks.get(name), rest, options)
        options = options if task_id else awaiting_answer(self, name, options)
        return super().send_task(name, args, kwargs, countdown, eta, task_id or new_id(), **options)

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """As Celery's. Members of a group that are published through it are written together."""
        return self._group_producer() if producer is None else super().producer_or_acquire(producer)

    @contextmanager
    def _group_producer(self) -> Iterator[Any]:
        with super().producer_or_acquire() as producer, self.amqp.group_producer(producer) as group:
            yield group

    def enqueue_by_name(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], **options: Any
    ) -> str:
        """Enqueue a job as its task's own ``apply_async`` would, and return its id.

        Raises:
            UnknownTask: there is no such task here.
            BadArgument: the arguments do not fit its signature.

        >>> id = app.enqueue_by_name("mail.welcome", (7,), {}, countdown=60)
        >>> app.enqueue_by_name("mail.welcom", (7,), {})
        Traceback (most recent call last):
        celeriac.errors.UnknownTask: no task is named 'mail.welcom'; did you mean 'mail.welcome'?
        """
        self._require(name)
        self._check(None, options)
        if (task := self.tasks.get(name)) is None:  # of other code, whose signature is not known
            return str(self.send_task(name, args, kwargs, **options).id)
        try:
            if task.typing:
                task.__header__(*args, **kwargs)
        except TypeError as exc:
            raise BadArgument(name, str(exc)) from None
        return str(task.apply_async(tuple(args), dict(kwargs), **options).id)

    def _check(self, eta: Any, options: Mapping[str, Any]) -> None:
        """What Celery would answer with an error that names nothing."""
        queue = options.get("queue")
        if isinstance(queue, str):
            self.amqp.queues.require(queue)
        elif options.get("exchange"):
            self.amqp.queues.bound(options["exchange"], options.get("routing_key"))
        for option, value in (("eta", eta), ("expires", options.get("expires"))):
            if isinstance(value, str):
                try:
                    datetime.fromisoformat(value)
                except ValueError:
                    raise BadArgument(option, f"wanted an ISO 8601 moment, found {value[:80]!r}") from None

    def is_foreign(self, name: str) -> bool:
        """Whether the settings say that the code of the task ``name`` is elsewhere (``foreign_tasks``).

        >>> current_app().is_foreign("billing.charge")
        False
        """
        return any(fnmatchcase(name, pattern) for pattern in self.settings.foreign_tasks)

    def _require(self, name: str) -> None:
        if name in self.tasks or self.is_foreign(name):
            return
        self.loader.import_default_modules()  # a producer may not have imported every task yet
        if name not in self.tasks:
            nearest = difflib.get_close_matches(str(name), list(self.tasks), n=1)
            raise UnknownTask(name, nearest[0] if nearest else None)

    def __reduce__(self) -> Any:
        return unpickled, (self.main, place_of(self, self._made_in), self._identity)


def current_app(app: Celeriac | None = None) -> Celeriac:
    """``app``; or else the current one, as Celery finds it.

    Raises:
        NoAppMade: this process has made none, or the current one is another Celery app.

    >>> current_app() is app
    True
    """
    if app is not None:
        return app
    found = celery_app._get_current_object()
    if not isinstance(found, Celeriac):  # the one that stands in until an app is made, or somebody else's
        raise NoAppMade()
    return found


# From now on a task that is called where no app was made is refused: Celery would make up an app, and the job
# would have no row. Here, because whatever of the platform needs an app asks for it here.
stand_in()
