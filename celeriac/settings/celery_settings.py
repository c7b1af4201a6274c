"""What a Celeriac app does with each of Celery's settings, as data.

``docs/adopting.md`` is made from this table, ``doctor`` reads it, and an app refuses by it. The names are
those of ``celery.app.defaults``, and those that Celery reads without having a default for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from celery.app.defaults import SETTING_KEYS


class Verdict(StrEnum):
    """What becomes of a value that somebody sets."""

    OBEYED = "obeyed"  # as in Celery
    OURS = "ours"  # obeyed when it is set; unset, the platform's default differs from Celery's
    MET = "met"  # any value is taken: what it is for happens anyway
    OWN = "own"  # the platform's own: another value is refused by name, with the reason
    UNREAD = "unread"  # of a broker or store that is not in use; nobody reads it, as in Celery


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is done with one setting.

    Attributes:
        reason: why, in one sentence; empty where there is nothing to say.
        takes: of the platform's own: whether a value asks for nothing else than the platform does.
    """

    verdict: Verdict
    reason: str = ""
    takes: Callable[[Any], bool] | None = None


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value is None or value in values


def _text_of(*values: str) -> Callable[[Any], bool]:
    """The platform's own names for a class, by dotted name or as the class itself."""
    return lambda value: value is None or getattr(value, "__name__", str(value)) in values


def _has_json_alone(value: Any) -> bool:
    """Formats that an operator and another host can read: json, and what carries no objects of Python."""
    return value is None or ("json" in value and not {"pickle", "yaml", *_UNSAFE} & {*map(str, value)})


_UNSAFE = frozenset({"application/x-python-serialize", "application/x-yaml", "application/yaml"})


def _obeyed(*names: str, reason: str = "") -> dict[str, Ruling]:
    return dict.fromkeys(names, Ruling(Verdict.OBEYED, reason))


def _ours(reason: str, *names: str) -> dict[str, Ruling]:
    return dict.fromkeys(names, Ruling(Verdict.OURS, reason))


def _met(reason: str, *names: str) -> dict[str, Ruling]:
    return dict.fromkeys(names, Ruling(Verdict.MET, reason))


def _own(reason: str, takes: Callable[[Any], bool], *names: str) -> dict[str, Ruling]:
    return dict.fromkeys(names, Ruling(Verdict.OWN, reason, takes))


def _unread(reason: str, *names: str) -> dict[str, Ruling]:
    return dict.fromkeys(names, Ruling(Verdict.UNREAD, reason))


_MESSAGES = (
    _own(
        "payloads are read by operators and other hosts: json must be among them, pickle and yaml must not",
        _has_json_alone,
        "accept_content",
        "result_accept_content",
    )
    | _own(
        "payloads are JSON, so that operators and other hosts can read them",
        _one_of("json"),
        "task_serializer",
    )
    | _own("results are copied into the job's row, which holds JSON", _one_of("json"), "result_serializer")
    | _own("the ledger reads messages of protocol 2", _one_of(2), "task_protocol")
    | _obeyed(
        *("imports", "include", "task_compression", "task_annotations", "task_ignore_result"),
        *("task_store_errors_even_if_ignored", "task_track_started", "task_send_sent_event"),
        *("task_allow_error_cb_on_chord_header", "task_repr_maxlevels", "task_default_rate_limit"),
        *(
            "worker_disable_rate_limits",
            "task_always_eager",
            "task_eager_propagates",
            "task_store_eager_result",
        ),
    )
    | _obeyed("task_remote_tracebacks", reason="needs the package tblib")
    | _met(
        "the dispatcher is the retry: a job whose message was not sent is sent later", "task_publish_retry"
    )
    | _met("the dispatcher is the retry", "task_publish_retry_policy")
)

_TIME = (
    _obeyed("timezone", "enable_utc")
    | _obeyed("beat_schedule", "beat_enable_remote_control", "beat_remote_control_max_tick_age")
    | _obeyed("beat_cron_starting_deadline", reason="the catch-up window of entries in the code")
    | _met("schedules are kept in the ledger, not in a file", "beat_schedule_filename", "beat_sync_every")
    | _ours("1 second, so that another beat takes over within seconds", "beat_max_loop_interval")
    | _own(
        "schedules are rows of the ledger; `schedules import` copies those of another scheduler",
        _text_of("celeriac.schedules.scheduler:Scheduler", "celery.beat:PersistentScheduler"),
        "beat_scheduler",
    )
)

_TRANSPORTS = ("celeriac.broker.transport:Transport", "celeriac.broker.sentinel:SentinelTransport")

_BROKER = (
    _obeyed("broker_url", reason="Redis or Valkey: redis, rediss, redis+socket, sentinel; several with ;")
    | _own(
        "a row's message must be where workers read: equal to broker_url",
        lambda value: value is None,
        "broker_read_url",
        "broker_write_url",
    )
    | _obeyed("broker_host", "broker_port", "broker_user", "broker_password", "broker_vhost")
    | _own(
        "the transport follows from the broker's URL",
        _one_of("redis", "rediss", "sentinel", *_TRANSPORTS),
        "broker_transport",
    )
    | _obeyed("broker_transport_options", reason="merged into the platform's, key by key")
    | _ours("1 second", "broker_connection_timeout", "broker_pool_acquire_timeout")
    | _ours("True", "broker_connection_retry", "broker_connection_retry_on_startup")
    | _ours("for ever", "broker_connection_max_retries")
    | _ours("100", "broker_pool_limit")
    | _obeyed("broker_channel_error_retry", "broker_failover_strategy", "broker_use_ssl")
    | _unread(
        "of AMQP",
        *("broker_heartbeat", "broker_heartbeat_checkrate", "broker_login_method"),
        *("broker_native_delayed_delivery_queue_type", "result_exchange", "result_exchange_type"),
        "result_persistent",
    )
    | _obeyed("control_*", "event_*")
)

_RESULTS = (
    _obeyed(
        "result_backend",
        reason="Redis or Valkey, or disabled: no return value is kept; others are refused by their scheme",
    )
    | _obeyed("result_backend_transport_options", reason="merged into the platform's")
    | _obeyed(
        *("redis_backend_use_ssl", "redis_max_connections", "redis_retry_on_timeout"),
        *(
            "redis_socket_keepalive",
            "redis_host",
            "redis_port",
            "redis_db",
            "redis_username",
            "redis_password",
        ),
        *("result_extended", "result_compression", "result_cache_max", "result_chord_retry_interval"),
        *("result_chord_join_timeout", "result_chord_expires", "result_failure_expires"),
        *("result_backend_max_retries", "result_backend_max_sleep_between_retries_ms"),
        "result_backend_base_sleep_between_retries_ms",
    )
    | _obeyed("result_expires", reason="CELERIAC_RESULT_TTL is the same setting by another name")
    | _ours("2 seconds: the ledger's thread waits for it", "redis_socket_timeout")
    | _ours("1 second", "redis_socket_connect_timeout")
    | _met("what cannot be stored is carried by the ledger", "result_backend_always_retry")
    | _unread(
        "of result stores that are refused",
        *("cache_*", "cassandra_*", "s3_*", "azureblockblob_*", "gcs_*", "couchbase_*", "arangodb_*"),
        *("mongodb_*", "cosmosdbsql_*", "elasticsearch_*", "database_*"),
    )
    | _obeyed(
        "security_key",
        "security_certificate",
        "security_cert_store",
        reason="the same as celeriac_signing_key and its two neighbours; both set and different is refused",
    )
    | _own("signed messages take a key without a password", _one_of(), "security_key_password")
    | _own("messages are signed with SHA-256", _one_of("sha256"), "security_digest")
)

_DELIVERY = (
    _own(
        "without late acknowledgement an outcome could be lost: at most once becomes at least once",
        _one_of(True),
        "task_acks_late",
    )
    | _own(
        "a failure is tried again by the ledger, never by the broker",
        _one_of(True),
        *("task_acks_on_failure_or_timeout", "task_acks_on_failure", "task_acks_on_timeout"),
    )
    | _met(
        "a lost attempt is counted and tried again; max_tries=1 keeps a task from it",
        *("task_reject_on_worker_lost", "task_retry_on_worker_lost"),
    )
    | _obeyed("task_queues", reason="each is a lane with four levels; its exchange must be direct")
    | _obeyed("task_routes", reason="asked before the platform's router, which is the last one")
    | _obeyed("task_default_queue", reason="`celery` and `default` are names of the default lane")
    | _obeyed(
        "task_create_missing_queues", reason="False: a call with a queue that nothing declares is refused"
    )
    | _obeyed("task_inherit_parent_priority", "task_default_priority")
    | _own(
        "a queue is a list of Redis",
        _one_of("classic"),
        "task_create_missing_queue_type",
        "task_default_queue_type",
    )
    | _own(
        "a queue is addressed by its name, through a direct exchange",
        _one_of("direct"),
        "task_create_missing_queue_exchange_type",
        "task_default_exchange_type",
    )
    | _own(
        "a queue is addressed by its name alone; name it with task_default_queue",
        lambda value: value is None,
        "task_default_exchange",
        "task_default_routing_key",
    )
    | _met("of AMQP", "task_default_delivery_mode", "task_queue_max_priority", "worker_detect_quorum_queues")
    | _obeyed("task_time_limit", reason="unset, there is none, as in Celery; doctor asks for one")
    | _obeyed("task_soft_time_limit")
)

_WORKER = (
    _obeyed(
        *("worker_agent", "worker_autoscaler", "worker_concurrency", "worker_enable_remote_control"),
        *("worker_max_memory_per_child", "worker_max_tasks_per_child", "worker_pool_putlocks"),
        *("worker_pool_restarts", "worker_proc_alive_timeout", "worker_timer", "worker_timer_precision"),
        *("worker_state_db", "worker_soft_shutdown_timeout", "worker_enable_soft_shutdown_on_idle"),
        *("worker_hijack_root_logger", "worker_log_color", "worker_log_format", "worker_log_datefmt"),
        *("worker_task_log_format", "worker_task_log_datefmt", "worker_redirect_stdouts"),
        *("worker_redirect_stdouts_level", "worker_send_task_events", "worker_disable_prefetch"),
    )
    | _obeyed("worker_pool", reason="unset, it is burst; Celery's default is prefork")
    | _obeyed("worker_prefetch_multiplier", reason="set, it is fixed; unset, it follows how long jobs take")
    | _own("threads and connections are made after the fork", _one_of("fork"), "worker_pool_start_method")
    | _own(
        "the platform's consumer claims a job before Celery sees it",
        _text_of("celeriac.worker.consumer:Consumer", "celery.worker.consumer:Consumer"),
        "worker_consumer",
    )
    | _own("a queue of one worker's own has no levels", _one_of(False), "worker_direct")
    | _met("the claim lets one delivery of a job run", "worker_deduplicate_successful_tasks")
    | _met(
        "nothing is delivered again when the broker goes away, so nothing need be cancelled",
        "worker_cancel_long_running_tasks_on_connection_loss",
    )
    | _met("due times wait in the ledger", "worker_eta_task_limit", "worker_enable_prefetch_count_reduction")
    | _ours("2 seconds", "worker_lost_wait")
)

#: Keys that Celery and redbeat read without a default of their own.
_WITHOUT_DEFAULT = (
    _obeyed(
        *(
            "redis_backend_credential_provider",
            "redis_client_name",
            "override_backends",
            "deprecated_settings",
        ),
        "result_backend_thread_safe",
    )
    | _ours("25 seconds", "redis_backend_health_check_interval")
    | _own("redbeat's keys are a projection of the ledger's schedules", lambda value: False, "redbeat_*")
)

#: By name, or by the beginning of many names.
RULINGS: Mapping[str, Ruling] = MappingProxyType(
    _MESSAGES | _TIME | _BROKER | _RESULTS | _DELIVERY | _WORKER | _WITHOUT_DEFAULT
)

#: ``broker_transport_options``, key by key; a key that is not here is passed on.
TRANSPORT_RULINGS: Mapping[str, Ruling] = MappingProxyType(
    _obeyed(
        *("global_keyprefix", "fanout_prefix", "fanout_patterns", "health_check_interval", "max_connections"),
        *("client_name", "master_name", "sentinel_kwargs", "min_other_sentinels", "sentinel_fanout_compat"),
        *("retry_on_timeout", "socket_keepalive_options"),
    )
    | _ours("0.8 seconds, so that a call answers within two", "socket_timeout")
    | _ours("1 second", "socket_connect_timeout")
    | _ours("True", "socket_keepalive")
    | _ours("0: the dispatcher is the retry", "max_retries", "interval_start")
    | _met(
        "a message is never delivered again: the ledger sends what is lost", "visibility_timeout", "unacked_*"
    )
    | _met("the ledger knows what was sent", "polling_interval", "confirm_publish")
    | _own("each level has a list of its own", _one_of([0], (0,)), "priority_steps")
    | _own(
        "levels are drawn strictly in their order",
        _text_of("priority", "celeriac.broker.transport:PriorityCycle"),
        "queue_order_strategy",
    )
    | _own("levels are not told apart by a separator", lambda value: value is None, "sep")
    | _own("the ledger gives back what a worker held", _one_of(False), "ack_emulation", "do_restore")
)


def ruling(name: str, rulings: Mapping[str, Ruling] = RULINGS) -> Ruling | None:
    """What is done with the setting ``name``; None of a name that the table does not know.

    >>> ruling("task_acks_late").verdict, ruling("s3_bucket").verdict, ruling("task_acks_lat")
    (<Verdict.OWN: 'own'>, <Verdict.UNREAD: 'unread'>, None)
    """
    if name in rulings:
        return rulings[name]
    return next((each for key, each in rulings.items() if "*" in key and fnmatchcase(name, key)), None)


def refusal(name: str, value: Any, rulings: Mapping[str, Ruling] = RULINGS) -> str | None:
    """Why ``value`` cannot be obeyed, as a sentence; None when it is taken.

    >>> refusal("worker_direct", True)
    "worker_direct: found True; a queue of one worker's own has no levels"
    >>> refusal("worker_eta_task_limit", 5)
    """
    found = ruling(name, rulings)
    if found is None or found.takes is None or found.takes(value):
        return None
    shown = "a value" if _SECRET.search(name) else repr(value)
    return f"{name}: found {shown}; {found.reason}"


#: Settings whose values may hold a password: they are not shown.
_SECRET = re.compile(r"url|password|options|credential")


def refusals(configured: Mapping[str, Any]) -> Iterator[str]:
    """Why values of ``configured`` cannot be obeyed, one sentence each.

    Args:
        configured: what somebody set; asked by the names of Celery's settings.
    """
    beginnings = tuple(name.removesuffix("*") for name in RULINGS if "*" in name)
    prefix = (getattr(configured, "prefix", None) or "").lower()
    keys = {str(key).lower().removeprefix(prefix) for key in configured}
    found = {key for key in keys if key.startswith(beginnings)}
    for name in sorted(SETTING_KEYS | found | {name for name in RULINGS if "*" not in name}):
        if name in _COMPARED or name not in configured or _names_default_queue(name, configured):
            continue
        told = refusal(name, configured[name])
        if told is not None:
            yield told


#: Judged beside ``broker_url``, by the configuration.
_COMPARED = frozenset({"broker_read_url", "broker_write_url"})


def _names_default_queue(name: str, configured: Mapping[str, Any]) -> bool:
    """Whether the exchange or the routing key of the default queue is its own name, as it is anyway."""
    default = configured.get("task_default_queue")
    return (
        name in ("task_default_exchange", "task_default_routing_key")
        and default is not None
        and configured[name] == default
    )
