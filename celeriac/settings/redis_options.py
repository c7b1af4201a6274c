"""What Celery and redbeat are told of their Redis beside its address: prefix, sentinels, TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celeriac import addresses
from celeriac.addresses import Address
from celeriac.settings.platform import Settings

#: Before the names of redbeat's keys, after the prefix of all.
_REDBEAT = "celeriac:redbeat:"

#: Options for Sentinel, which broker and results have in common.
_OF_SENTINEL = ("master_name", "sentinel_kwargs", "min_other_sentinels")

#: How a sentinel is asked. Several may have to be asked within the two seconds that a call may take, so one
#: that does not answer is left alone soon.
_ASKED = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}


def asked_once() -> dict[str, Any]:
    """Options for a sentinel; redis-py itself would try it four times, with pauses of seconds."""
    from redis.backoff import NoBackoff  # which import all of redis-py
    from redis.retry import Retry

    return {"retry": Retry(NoBackoff(), 0)}


def needed(settings: Settings, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """What the platform does not work without.

    Args:
        theirs: what the team has set.
    """
    return {
        "redbeat_key_prefix": settings.prefix + _REDBEAT,
        "result_backend_transport_options": _of_results(settings, theirs),
    }


def for_sentinel(settings: Settings, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the broker's transport; none where it is not behind Sentinel."""
    if not _sentinels(settings):
        return {}
    return {"sentinel_kwargs": _asked(_options(theirs, "broker_transport_options"))}


def for_redbeat(settings: Settings, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Options of redbeat's client; none where its server is not behind Sentinel."""
    found = _sentinels(settings)
    if not found:
        return {}
    options = _options(theirs, "broker_transport_options")
    return {
        "sentinels": [(each.host, each.port) for each in found],
        "service_name": options.get("master_name"),
        "sentinel_kwargs": asked_once() | _asked(options),
        "username": found[0].user,
        "password": found[0].password,
        "db": found[0].database,
    }


def tls_of_results(settings: Settings, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """TLS for results in the broker's server, where Celery's option for the broker asks for it."""
    options = theirs.get("broker_use_ssl")
    if settings.result_backend is not None or not isinstance(options, Mapping):
        return {}
    return {"redis_backend_use_ssl": dict(options)}


def problems(settings: Settings, theirs: Mapping[str, Any]) -> Iterator[str]:
    """What is missing, one sentence each."""
    behind = {
        "broker_transport_options": bool(_sentinels(settings)),
        "result_backend_transport_options": settings.result_backend is not None and _of_sentinel(settings),
    }
    known = {"broker_transport_options": theirs.get("broker_transport_options")}
    known["result_backend_transport_options"] = _of_results(settings, theirs)
    for name, needs in behind.items():
        if needs and not (known[name] or {}).get("master_name"):
            yield (
                f"{name}: master_name is missing: behind Sentinel it names the server, as `sentinel monitor` "
                "in the sentinels' configuration does"
            )


def _of_results(settings: Settings, theirs: Mapping[str, Any]) -> dict[str, Any]:
    options = _options(theirs, "result_backend_transport_options")
    if _of_sentinel(settings):
        if settings.results == settings.broker:  # the same server as the broker's
            shared = _options(theirs, "broker_transport_options")
            options = {name: shared[name] for name in _OF_SENTINEL if name in shared} | options
        options["sentinel_kwargs"] = asked_once() | _asked(options)
    return options | ({"global_keyprefix": settings.prefix} if settings.prefix else {})


def _options(theirs: Mapping[str, Any], name: str) -> dict[str, Any]:
    return dict(theirs.get(name) or {})


def _asked(options: Mapping[str, Any]) -> dict[str, Any]:
    return {**_ASKED, **(options.get("sentinel_kwargs") or {})}


def _sentinels(settings: Settings) -> tuple[Address, ...]:
    """The broker's sentinels. A private Valkey has none, and is not asked: that would choose its port."""
    found = () if settings.embedded_broker else settings.brokers
    return found if found and found[0].scheme == addresses.SENTINEL else ()


def _of_sentinel(settings: Settings) -> bool:
    if settings.result_backend is None:
        return bool(_sentinels(settings))
    return settings.results.startswith(f"{addresses.SENTINEL}://")
