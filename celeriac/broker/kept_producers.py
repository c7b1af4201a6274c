"""Producers that stay at hand for those who send one message after another.

kombu revives a producer and its connection when they are taken from its pool: it takes as long as to send.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kombu import Producer

    from celeriac.application import Celeriac

_MOST = 8  # that are kept; there is one for each thread that sends at the same moment


class KeptProducers:
    """Each has a connection of its own: while one of kombu's pool is in use, no app may lower its limit."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._pid = os.getpid()
        self._own: dict[Producer, Any] = {}  # and the app's pool when it was made
        self._kept: list[Producer] = []  # those of them that nobody uses

    def take(self) -> Producer:
        """One that nobody else has; give it back with ``keep``, or ``drop`` it.

        Raises:
            kombu.exceptions.LimitExceeded: all of the pool are in use.
        """
        pool = self._app.amqp.producer_pool  # another one after a fork, and after a change of settings
        while self._kept:
            kept = self._kept.pop()
            if self._own.get(kept) is pool:
                return kept
            self.drop(kept)
        if len(self._own) < min(_MOST, (pool.limit or 0) // 2):
            made: Producer = self._app.amqp.Producer(self._app.connection_for_write(), auto_declare=False)
            self._own[made] = pool
            return made
        taken: Producer = pool.acquire(block=True, timeout=self._app.conf.broker_pool_acquire_timeout)
        return taken

    def keep(self, producer: Producer) -> None:
        """Give back one that works."""
        if self._own.get(producer) is self._app.amqp.producer_pool:
            self._kept.append(producer)
        else:
            self.drop(producer)

    def drop(self, producer: Producer) -> None:
        """Give back one that may not work."""
        if self._own.pop(producer, None) is None:
            producer.release()
        elif self._pid == os.getpid():  # the parent's connection is not a child's to close
            producer.connection.release()

    def close(self) -> None:
        """Close those that nobody uses."""
        while self._kept:
            self.drop(self._kept.pop())
