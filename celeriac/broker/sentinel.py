"""The transport for Redis behind Sentinel: ours, over connections that ask the sentinels for the master.

Nothing is asked for each message: a connection asks when it is made, and again after a failover.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu.transport import redis

from celeriac.broker.transport import Channel, Transport
from celeriac.settings.redis_options import asked_once


class SentinelChannel(Channel, redis.SentinelChannel):
    from_transport_options = tuple(
        dict.fromkeys((*Channel.from_transport_options, *redis.SentinelChannel.from_transport_options))
    )
    _asked: Mapping[str, Any] | None = None

    @property
    def sentinel_kwargs(self) -> dict[str, Any]:
        """The transport's option, and what is not in it: ``inspect stats`` answers with options as JSON."""
        return {**asked_once(), **(self._asked or {})}

    @sentinel_kwargs.setter
    def sentinel_kwargs(self, options: Mapping[str, Any] | None) -> None:
        self._asked = options


class SentinelTransport(Transport):
    Channel = SentinelChannel
    default_port = redis.SentinelTransport.default_port
    stands_alone = False
