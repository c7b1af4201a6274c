"""What Celery is told: the team's configuration, judged and completed with what the platform needs.

Layers of ``app.conf``, the first that has a setting wins: what the platform needs, ``conf.update`` and the
constructor's, the team's object, the platform's defaults, Celery's. Nothing of the team's is overwritten.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.app.utils import Settings as CelerySettings
from kombu.utils.imports import symbol_by_name

from celeriac.broker import compression, queues, signing
from celeriac.errors import BadArgument, SettingsError
from celeriac.ledger.connection.framework import Framework
from celeriac.ledger.schema.lanes import DEFAULT
from celeriac.ledger.schema.lanes import check as check_queue
from celeriac.observe import traces
from celeriac.settings import celery_settings, from_conf, redis_options
from celeriac.settings.celery_settings import TRANSPORT_RULINGS
from celeriac.settings.conf import Later, Layer, of_the_team
from celeriac.settings.platform import Settings, read_settings

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Parts of an app that cannot be somebody else's: the ledger stands in them.
_PARTS = ("amqp_cls", "control_cls", "registry_cls")

#: How a Django project installs the integration, and where it is: it builds on the platform.
_INSTALLED = "celeriac.contrib.django"
_DJANGO = "celeriac.contrib.django.framework:Django"


def configure(app: Celeriac) -> Settings:
    """Judge what the team has configured, put the platform's layers around it, and return our settings.

    Again whenever something was written to ``app.conf`` since.

    Raises:
        SettingsError: with every problem at once.
    """
    conf = app.conf
    theirs = of_the_team(conf)
    problems = [*_foreign_parts(app), *_problems(theirs)]
    app.framework = app.framework or _framework_of(app)
    try:
        settings = _settings(app, theirs)
        problems += from_conf.other_prefixes(theirs, settings.prefix)
        problems += redis_options.problems(settings, theirs)
    except SettingsError as exc:
        problems += exc.problems
    if problems:
        raise SettingsError(problems)
    put_around(conf, theirs, settings)
    signing.set_up(app, settings)
    if app.tracing is None:
        traces.set_up(app, settings)
    return settings


def _settings(app: Celeriac, theirs: CelerySettings) -> Settings:
    known = app.given_settings
    if known is None:
        given = from_conf.given(theirs, app.given_defaults)
        if app.framework is not None and (url := app.framework.ledger_url(given)) is not None:
            given["database_url"] = url.render_as_string(hide_password=False)
        return read_settings(given)
    own = from_conf.given(theirs, {})
    return read_settings(known.model_dump(include=known.model_fields_set) | own) if own else known


def put_around(conf: Any, theirs: CelerySettings, settings: Settings) -> None:
    """Put the platform's layers into ``conf``, in place of those that are there."""
    user = [layer for layer in conf.defaults[:-1] if not isinstance(layer, Layer)]
    above = Layer(needed(settings, theirs.get("broker_transport_options"), theirs.get("task_queues")))
    above |= redis_options.needed(settings, theirs)
    above["broker_transport_options"] |= redis_options.for_sentinel(settings, theirs)
    above["redbeat_redis_options"] = Later(partial(_redbeat_options, settings, theirs))
    conf.defaults[:] = [*user, Layer(defaults(settings, theirs)), conf.defaults[-1]]
    conf.maps[:] = [above, conf.changes, *conf.defaults]


def needed(
    settings: Settings, transport: Mapping[str, Any] | None = None, task_queues: Any = None
) -> dict[str, Any]:
    """What the platform does not work without, whatever is configured.

    Args:
        transport: the team's options of the broker's transport.
        task_queues: the team's queues.
    """
    own = transport_options(settings, task_queues)
    kept = {name: own[name] for name in own if name in _TRANSPORT_NEEDED}
    return {
        "broker_url": settings.broker,
        "broker_transport": "celeriac.broker.transport:Transport",
        "broker_transport_options": {**own, **(transport or {}), **kept},
        "task_serializer": "json",
        "result_serializer": "json",
        "task_publish_retry": False,  # the dispatcher is the retry
        "task_acks_late": True,  # "done" is then the moment at which Celery acknowledges
        "task_reject_on_worker_lost": None,
        "result_backend_always_retry": False,
        "worker_consumer": "celeriac.worker.consumer:Consumer",
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_prefetch_count_reduction": False,
        "beat_scheduler": "celeriac.schedules.scheduler:Scheduler",
        "redbeat_redis_url": settings.schedules_store,
        "redbeat_lock_timeout": 6,  # seconds after which another beat leads when this one is gone
    } | signing.configuration(settings)


def defaults(settings: Settings, theirs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What holds unless the team sets another value, where the platform's default is not Celery's."""
    found = {
        "accept_content": ["json"],
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 1.0,
        "broker_pool_acquire_timeout": 1.0,
        "broker_pool_limit": 100,  # at most; one of a producing thread is held while its row is written
        "imports": list(settings.task_modules),
        "task_inherit_parent_priority": False,
        "task_track_started": False,
        "result_expires": timedelta(seconds=settings.result_ttl),
        "result_backend_thread_safe": True,  # or a group's results belong to the thread that enqueued it
        "redis_socket_timeout": 2.0,
        "redis_socket_connect_timeout": 1.0,
        "redis_backend_health_check_interval": 25,
        "task_time_limit": settings.hard_limit,  # or jobs that hang would hold every child for ever
        "worker_pool": "burst",
        "worker_prefetch_multiplier": settings.prefetch or 1,
        "worker_lost_wait": 2.0,  # seconds; a dead child's result may still be on its way
        "worker_hijack_root_logger": True,
        "worker_send_task_events": False,
        "beat_max_loop_interval": 1,
        "enable_utc": True,
    }
    found |= redis_options.tls_of_results(settings, theirs or {})
    # Celery looks at Django's TIME_ZONE where no time zone is set.
    return found if theirs is not None and "TIME_ZONE" in theirs else found | {"timezone": "UTC"}


def _redbeat_options(settings: Settings, theirs: CelerySettings) -> dict[str, Any]:
    return redbeat_options(settings) | redis_options.for_redbeat(settings, theirs)


def redbeat_options(settings: Settings) -> dict[str, Any]:
    """Options of redbeat's Redis client; a beat fires without Redis rather than wait for it."""
    from redis.backoff import NoBackoff  # which import all of redis-py: only a beat needs these options
    from redis.retry import Retry

    over_network = {"socket_connect_timeout": 1.0, "socket_keepalive": True}
    return {
        "socket_timeout": 1.0,
        "retry": Retry(NoBackoff(), 1),  # a connection that was merely old
    } | (over_network if settings.brokers[0].path is None else {})


#: Of these a team's value is refused, or asks for nothing else.
_TRANSPORT_NEEDED = frozenset(
    {"queue_order_strategy", "low_share", "unpack_limit", "priority_steps", "foreign", "global_keyprefix"}
)


def transport_options(settings: Settings, task_queues: Any = None) -> dict[str, Any]:
    """Options of the Redis transport; timeouts so that a producer answers within two seconds."""
    return {
        "queue_order_strategy": "celeriac.broker.transport:PriorityCycle",
        "low_share": settings.low_share,
        "unpack_limit": settings.payload_limit * compression.TIMES,
        "priority_steps": [0],  # each level has a list of its own
        # plain JSON, as all of these: `inspect stats` answers with them
        "foreign": queues.names_of(task_queues) if settings.adopt_foreign else None,
        "global_keyprefix": settings.prefix,
        "socket_timeout": 0.8,
        "socket_connect_timeout": 1.0,
        "socket_keepalive": True,
        "max_retries": 0,
        "interval_start": 0,
    }


def _framework_of(app: Celeriac) -> Framework | None:
    """The integration that the project of ``app`` installs; None: it installs none."""
    # Where there is Django, reading the configuration has imported it.
    django = sys.modules.get("django.conf")
    if django is None or not (django.settings.configured or os.environ.get("DJANGO_SETTINGS_MODULE")):
        return None
    if not any(str(name).startswith(_INSTALLED) for name in django.settings.INSTALLED_APPS):
        return None
    made: Framework = symbol_by_name(_DJANGO)(app)
    return made


def _problems(theirs: CelerySettings) -> Iterator[str]:
    """What the team has set and the platform cannot obey."""
    yield from celery_settings.refusals(theirs)
    options = theirs.get("broker_transport_options")
    if isinstance(options, Mapping):
        for name, value in options.items():
            if told := celery_settings.refusal(str(name), value, TRANSPORT_RULINGS):
                yield f"broker_transport_options: {told}"
    yield from queues.problems(theirs.get("task_queues"))
    try:
        check_queue(theirs.get("task_default_queue") or DEFAULT, option="task_default_queue")
    except BadArgument as exc:
        yield str(exc)
    for name in ("broker_read_url", "broker_write_url"):
        # Asked as Celery asks, the environment first; never shown: there are passwords in it.
        other = getattr(theirs, name)
        if other is not None and other != theirs.broker_url:
            yield f"{name}: {celery_settings.RULINGS[name].reason}"


def _foreign_parts(app: Celeriac) -> Iterator[str]:
    for part in _PARTS:
        ours = getattr(_class_of(app), part)
        found = getattr(app, part)
        if found != ours and not issubclass(symbol_by_name(found), symbol_by_name(ours)):
            yield f"{part.removesuffix('_cls')}: wanted a subclass of {ours}, found {found!r}"


def _class_of(app: Celeriac) -> Any:
    return next(kind for kind in type(app).__mro__ if kind.__module__ == "celeriac.application")
