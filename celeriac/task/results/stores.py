"""Which result store an app has, by the address: Redis, Redis behind Sentinel, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.backends.redis import SentinelBackend
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from celeriac import addresses
from celeriac.task.results.no_results import NoResults
from celeriac.task.results.store import ResultBackend

if TYPE_CHECKING:
    from celeriac.application import Celeriac


class _Disconnecting:
    """A connection that is closed when a reply is late, as redis-py's are, but for those behind Sentinel.

    Left open, it would ask a server that hangs for ever, and take a late reply for that to its next command.
    """

    def read_response(self, *args: Any, **options: Any) -> Any:
        of_redis: Any = super()
        return of_redis.read_response(*args, **{"disconnect_on_error": True, **options})


class _Managed(_Disconnecting, SentinelManagedConnection):
    pass


class _ManagedOverTls(_Disconnecting, SentinelManagedSSLConnection):
    pass


class SentinelResultBackend(ResultBackend, SentinelBackend):
    """The result store behind Sentinel. Its connections ask for the master when they are made."""

    connection_class_ssl = _ManagedOverTls

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connparams.setdefault("connection_class", _Managed)


#: The stores whose results may travel with the outcome; a class of somebody else's may store in its own way.
CARRYING = ResultBackend, SentinelResultBackend


def store_at(app: Celeriac, url: str) -> Any:
    """The result store at ``url``, or what stands in for one where there is to be none."""
    if url == addresses.DISABLED:
        return NoResults(app=app, url=url)
    kind = SentinelResultBackend if url.startswith(addresses.SENTINEL) else ResultBackend
    return kind(app=app, url=url)
