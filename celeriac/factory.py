"""Build the app from settings: what Celery is told, each with the reason where it is not plain."""

from __future__ import annotations

import importlib
import importlib.util
from datetime import timedelta
from typing import Any

from kombu import Queue
from redis.backoff import NoBackoff
from redis.retry import Retry

from celeriac import maintenance
from celeriac.application import Celeriac
from celeriac.broker import compression, signing
from celeriac.broker_state import BrokerState
from celeriac.ledger.connection.database import Database
from celeriac.observe import traces
from celeriac.priorities import FOREIGN, QUEUES, Priority
from celeriac.settings import Settings

#: Seconds that a statement of an operator's command or of a producer may take; a worker's may take less.
_LONGEST_STATEMENT = 300.0


def build(settings: Settings, *, name: str = "app", set_as_current: bool = True) -> Celeriac:
    """An app with its own ledger, broker and result store; nothing is connected yet.

    Raises:
        SettingsError: keys, certificates or libraries that the settings ask for cannot be used.
    """
    app = Celeriac(
        name,
        amqp="celeriac.enqueue.door:AMQP",
        task_cls="celeriac.task.task:Task",
        control="celeriac.operate.remote_control:Control",
        set_as_current=set_as_current,
    )
    if set_as_current:
        app.set_default()  # of all threads: Celery's current app is that of the thread which made it
    app.settings = settings
    # Or CELERY_RESULT_BACKEND, which Celery reads too, would bring its own class.
    app.backend_cls = f"celeriac.task.results:ResultBackend+{settings.results}"
    app.broker_state = BrokerState()
    app.database = Database(
        settings.database,
        pool=settings.database_pool,
        prepared=settings.prepared_statements,
        patience=settings.enqueue_timeout * 0.8,
        longest=_LONGEST_STATEMENT,
    )
    app.conf.update(configuration(settings))
    maintenance.register(app)
    signing.set_up(app, settings)
    traces.set_up(app, settings)
    return app


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's configuration."""
    return {
        "broker_url": settings.broker,
        "broker_transport": "celeriac.broker.transport:Transport",
        "broker_transport_options": transport_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 1.0,
        "broker_pool_acquire_timeout": 1.0,
        "broker_pool_limit": 100,  # at most; one of a producing thread is held while its row is written
        "imports": list(settings.task_modules),
        "task_queues": [Queue(queue, routing_key=queue) for queue in (*QUEUES, FOREIGN)],
        "task_default_queue": Priority.NORMAL.queue,
        "task_routes": ["celeriac.priorities:route"],
        "task_create_missing_queues": False,  # a typo would make a queue that nobody reads
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_publish_retry": False,  # the dispatcher is the retry
        "task_inherit_parent_priority": False,
        "task_acks_late": True,  # "done" is then the moment at which Celery acknowledges
        "task_reject_on_worker_lost": None,
        "task_track_started": False,
        "result_expires": timedelta(seconds=settings.result_ttl),
        "result_backend_always_retry": False,
        "result_backend_thread_safe": True,  # or a group's results belong to the thread that enqueued it
        "redis_socket_timeout": 2.0,
        "redis_socket_connect_timeout": 1.0,
        "redis_backend_health_check_interval": 25,
        "task_time_limit": settings.hard_limit,  # or jobs that hang would hold every child for ever
        "worker_consumer": "celeriac.worker.consumer:Consumer",
        "worker_prefetch_multiplier": settings.prefetch or 1,
        "worker_lost_wait": 2.0,  # seconds; a dead child's result may still be on its way
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_prefetch_count_reduction": False,
        "worker_hijack_root_logger": True,
        "worker_send_task_events": False,
        "beat_scheduler": "celeriac.schedules.scheduler:Scheduler",
        "beat_max_loop_interval": 1,
        "redbeat_redis_url": settings.schedules_store,
        "redbeat_redis_options": redbeat_options(settings),
        "redbeat_lock_timeout": 6,  # seconds after which another beat leads when this one is gone
        "redbeat_key_prefix": "celeriac:redbeat:",
        "beat_schedule": static_schedule(settings.schedule_module),
        "timezone": "UTC",
        "enable_utc": True,
    } | signing.configuration(settings)


def static_schedule(module: str) -> dict[str, Any]:
    """The schedules that the project's own module holds as data; none where it has no such module."""
    if importlib.util.find_spec(module) is None:
        return {}
    return dict(importlib.import_module(module).SCHEDULE)


def redbeat_options(settings: Settings) -> dict[str, Any]:
    """Options of redbeat's Redis client; a beat fires without Redis rather than wait for it."""
    over_network = {"socket_connect_timeout": 1.0, "socket_keepalive": True}
    return {
        "socket_timeout": 1.0,
        "retry": Retry(NoBackoff(), 1),  # a connection that was merely old
    } | (over_network if settings.brokers[0].path is None else {})


def transport_options(settings: Settings) -> dict[str, Any]:
    """Options of the Redis transport; timeouts so that a producer answers within two seconds."""
    return {
        "queue_order_strategy": "celeriac.broker.transport:PriorityCycle",
        "low_share": settings.low_share,
        "unpack_limit": settings.payload_limit * compression.TIMES,
        "priority_steps": [0],  # each priority has a queue of its own
        "socket_timeout": 0.8,
        "socket_connect_timeout": 1.0,
        "socket_keepalive": True,
        "max_retries": 0,
        "interval_start": 0,
    }
