"""Producers that stay at hand for those who send one message after another.

kombu revives a producer and its connection when they are taken from its pool: it takes as long as to send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kombu import Producer

    from celeriac.application import Celeriac

_MOST = 8  # that are kept; there is one for each thread that sends at the same moment


class KeptProducers:
    """Producers of the app's own pool, which counts them as taken."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._kept: list[tuple[Any, Producer]] = []  # with the pool from which each was taken

    def take(self) -> Producer:
        """One that nobody else has; give it back with ``keep``, or ``release`` it.

        Raises:
            kombu.exceptions.LimitExceeded: all of the pool are in use.
        """
        pool = self._app.amqp.producer_pool  # another one after a fork, and after a change of settings
        while self._kept:
            of, kept = self._kept.pop()
            if of is pool:
                return kept
        timeout = self._app.conf.broker_pool_acquire_timeout
        taken: Producer = pool.acquire(block=True, timeout=timeout)
        return taken

    def keep(self, producer: Producer) -> None:
        """Give back one that works."""
        pool = self._app.amqp.producer_pool
        if len(self._kept) < min(_MOST, (pool.limit or 0) // 2):
            self._kept.append((pool, producer))
        else:
            producer.release()
