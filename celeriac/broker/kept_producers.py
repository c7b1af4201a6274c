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
        self._own: dict[Producer, tuple[Any, int]] = {}  # and the app's pool and the process when it was made
        self._kept: list[Producer] = []  # those of them that nobody uses

    def take(self) -> Producer:
        """One that nobody else has; give it back with ``keep``, or ``drop`` it.

        Raises:
            kombu.exceptions.LimitExceeded: all of the pool are in use.
        """
        pool = self._app.amqp.producer_pool  # another one after a fork, and after a change of settings
        while (kept := self._pop()) is not None:
            if self._is_of(kept, pool):
                return kept
            self.drop(kept)
        if len(self._own) < min(_MOST, (pool.limit or 0) // 2):
            made: Producer = self._app.amqp.Producer(self._app.connection_for_write(), auto_declare=False)
            self._own[made] = pool, os.getpid()
            return made
        taken: Producer = pool.acquire(block=True, timeout=self._app.conf.broker_pool_acquire_timeout)
        return taken

    def look(self) -> None:
        """See what the broker has answered to the one that is taken next. It neither raises nor waits."""
        kept = self._pop()
        if kept is not None:
            if self._is_of(kept, self._app.amqp.producer_pool):
                kept.channel.look()
            self._kept.append(kept)

    def keep(self, producer: Producer) -> None:
        """Give back one that works."""
        if self._is_of(producer, self._app.amqp.producer_pool):
            self._kept.append(producer)
        else:
            self.drop(producer)

    def drop(self, producer: Producer) -> None:
        """Give back one that may not work."""
        made = self._own.pop(producer, None)
        if made is None:
            producer.release()
        elif made[1] == os.getpid():  # the parent's connection is not a child's to close
            producer.connection.release()

    def close(self) -> None:
        """Close those that nobody uses."""
        while (kept := self._pop()) is not None:
            self.drop(kept)

    def _pop(self) -> Producer | None:
        """In one step: another thread may take the last one at any moment."""
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def _is_of(self, producer: Producer, pool: Any) -> bool:
        made = self._own.get(producer)
        return made is not None and made[0] is pool
