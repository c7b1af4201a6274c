"""The table of Celery's settings, against the Celery that is installed."""

from __future__ import annotations

import pytest
from celery import VERSION
from celery.app.defaults import NAMESPACES, flatten

from celeriac.settings.celery_settings import RULINGS, TRANSPORT_RULINGS, Ruling, Verdict, refusal, ruling

DEFAULTS = {name: option.default for name, option in flatten(NAMESPACES)}


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_every_setting_of_celery_has_a_ruling(name: str) -> None:
    assert ruling(name) is not None


@pytest.mark.parametrize("name", sorted(RULINGS))
def test_every_ruling_is_of_a_setting_that_there_is(name: str) -> None:
    """No name in the table is a typing error; the table is of the newest Celery that is supported."""
    known = {*DEFAULTS, *_WITHOUT_DEFAULT}
    known |= set() if VERSION >= (5, 7) else _SINCE_5_5
    assert name in known or any(each.startswith(name.removesuffix("*")) for each in known if "*" in name)


_WITHOUT_DEFAULT = (
    *("redis_backend_credential_provider", "redis_client_name", "override_backends", "deprecated_settings"),
    *("result_backend_thread_safe", "redis_backend_health_check_interval", "redbeat_redis_url"),
)

#: What Celery 5.6 and 5.7 brought.
_SINCE_5_5 = {
    *("beat_enable_remote_control", "beat_remote_control_max_tick_age", "broker_pool_acquire_timeout"),
    *("result_chord_expires", "result_failure_expires", "task_acks_on_failure", "task_acks_on_timeout"),
    *("task_create_missing_queue_exchange_type", "task_create_missing_queue_type", "task_repr_maxlevels"),
    *("task_retry_on_worker_lost", "worker_disable_prefetch", "worker_eta_task_limit", "worker_log_datefmt"),
    *("worker_pool_start_method", "worker_task_log_datefmt"),
}

#: A value that asks for something else than the platform does.
OTHER = {
    "accept_content": ["json", "pickle"],
    "result_accept_content": ["yaml"],
    "task_serializer": "pickle",
    "result_serializer": "yaml",
    "task_protocol": 1,
    "beat_scheduler": "django_celery_beat.schedulers:DatabaseScheduler",
    "broker_read_url": "redis://elsewhere",
    "broker_write_url": "redis://elsewhere",
    "broker_transport": "sqs",
    "security_key_password": "secret",
    "security_digest": "md5",
    "task_acks_late": False,
    "task_acks_on_failure_or_timeout": False,
    "task_acks_on_failure": False,
    "task_acks_on_timeout": False,
    "task_create_missing_queue_type": "quorum",
    "task_default_queue_type": "quorum",
    "task_create_missing_queue_exchange_type": "topic",
    "task_default_exchange_type": "topic",
    "task_default_exchange": "tasks",
    "task_default_routing_key": "task.default",
    "worker_pool_start_method": "spawn",
    "worker_consumer": "proj.worker:Consumer",
    "worker_direct": True,
    "task_queues": ["gpu"],
    "task_default_queue": "gpu",
    "task_create_missing_queues": True,
    "redbeat_*": "redis://elsewhere",
}
OWN = {name: each for name, each in RULINGS.items() if each.verdict is Verdict.OWN}


@pytest.mark.parametrize("name", sorted(OWN))
def test_another_value_of_the_platforms_own_is_refused_with_the_reason(name: str) -> None:
    sentence = refusal(name.replace("*", "redis_url"), OTHER[name])
    assert sentence is not None
    assert sentence.endswith(OWN[name].reason)
    assert repr(OTHER[name]) in sentence or "found a value;" in sentence


#: Where the platform's default is another than Celery's, and unset must not be refused.
_UNSET = {"task_acks_late", "task_create_missing_queues", "redbeat_*"}


@pytest.mark.parametrize("name", sorted(OWN.keys() & DEFAULTS.keys() - _UNSET))
def test_what_celery_has_by_default_is_taken(name: str) -> None:
    assert refusal(name, DEFAULTS[name]) is None


@pytest.mark.parametrize("name", sorted(DEFAULTS.keys() - OWN.keys()))
def test_no_other_setting_is_refused(name: str) -> None:
    assert refusal(name, object()) is None


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("visibility_timeout", 3600, True),
        ("priority_steps", [0, 3, 6, 9], False),
        ("priority_steps", [0], True),
        ("queue_order_strategy", "round_robin", False),
        ("sep", ":", False),
        ("ack_emulation", True, False),
        ("something_new", 1, True),
    ],
)
def test_transport_options_have_rulings_of_their_own(name: str, value: object, taken: bool) -> None:
    assert (refusal(name, value, TRANSPORT_RULINGS) is None) is taken


@pytest.mark.parametrize("each", [*RULINGS.values(), *TRANSPORT_RULINGS.values()])
def test_what_is_not_simply_obeyed_has_a_reason(each: Ruling) -> None:
    assert each.reason or each.verdict is Verdict.OBEYED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("security_key_password", "hunter2"),
        ("redbeat_redis_url", "redis://:hunter2@host"),
        ("redbeat_redis_options", {"password": "hunter2"}),
    ],
)
def test_a_refusal_shows_no_secret(name: str, value: object) -> None:
    told = refusal(name, value)
    assert told is not None
    assert told.startswith(f"{name}: found a value; ")
    assert "hunter2" not in told
