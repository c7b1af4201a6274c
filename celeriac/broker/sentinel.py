"""The transport for Redis behind Sentinel: ours, over connections that ask the sentinels for the master.

Nothing is asked for each message: a connection asks when it is made, and again after a failover.
"""

from __future__ import annotations

from kombu.transport import redis

from celeriac.broker.transport import Channel, Transport


class SentinelChannel(Channel, redis.SentinelChannel):
    from_transport_options = tuple(
        dict.fromkeys((*Channel.from_transport_options, *redis.SentinelChannel.from_transport_options))
    )


class SentinelTransport(Transport):
    Channel = SentinelChannel
    default_port = redis.SentinelTransport.default_port
    stands_alone = False
