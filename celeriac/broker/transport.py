"""The Redis transport. It keeps nothing of a message once the message is popped.

The ledger gives jobs back, the broker never does. So the transport keeps no list of unacknowledged
messages, has no visibility timeout, and restores nothing at shutdown.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from queue import Empty
from types import SimpleNamespace
from typing import Any

import kombu
from kombu import connection as of_kombu
from kombu.exceptions import VersionMismatch
from kombu.transport import redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.scheduling import priority_cycle
from redis.exceptions import NoPermissionError, ResponseError

from celeriac import addresses
from celeriac.broker.message import UNPACK_LIMIT, Message, parse
from celeriac.broker.push_connection import PushConnection, Refused
from celeriac.broker.qos import LeanLane, QoS
from celeriac.errors import VersionsDoNotFit
from celeriac.events import Event
from celeriac.ledger.schema.lanes import Drawn, Lanes, draw_order

logger = logging.getLogger(__name__)

_MOST = 256  # messages of one command
_OVERDUE = 5.0  # seconds that the reply to a draw may be late, where there is another server
_FULL = 0.02  # seconds between two looks for room to draw, where no event loop looks
_QUICK = 0.5  # seconds within which a producer may try the next address of its brokers


class PriorityCycle(priority_cycle):
    """Consumes from the most important list that has a message: the level first, then the order of ``-Q``.

    Attributes:
        foreign: whose lists of plain Celery producers are drawn, too; None: no one's.
        drawn: what is or was drawn, by the names of the lists.
        share: how many of all draws, from 0 to 1, begin with the least important queue instead. So that
            queue cannot starve.
    """

    share = 0.0
    foreign: Lanes | None = None

    def __init__(self, it: Any = None) -> None:
        super().__init__(it)
        self._owed = 0.0
        self.drawn: dict[str, Drawn] = {}

    def update(self, it: Any) -> None:
        drawn = draw_order(list(it), foreign=self.foreign)
        self.drawn |= {each.name: each for each in drawn}  # what is cancelled may still be answered
        super().update([each.name for each in drawn])

    def consume(self, n: int) -> list[str]:
        """All lists, in the order of this draw. ``n`` counts queues, which may have several lists."""
        self._owed += self.share
        if self._owed < 1:
            return list(self.items)
        self._owed -= 1
        return list(reversed(self.items))


class Channel(redis.Channel):
    Message = Message
    ack_emulation = False
    do_restore = False
    low_share = 0.0
    foreign: Sequence[str] | None = None  # the names in ``task_queues``; None: no list of theirs is drawn
    unpack_limit = UNPACK_LIMIT
    lean_lane: LeanLane | None = None
    _publisher: Any = None
    _pushing: PushConnection | None = None
    _in_bulk = False  # whether the pending command is BLMPOP
    # kombu's own from 5.7 on, which sets both; before, a draw waits a second
    brpop_timeout: float = 1
    _brpop_sent_at: float | None = None

    from_transport_options = (*redis.Channel.from_transport_options, "low_share", "foreign", "unpack_limit")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.QoS = QoS
        if isinstance(self._queue_cycle, PriorityCycle):
            self._queue_cycle.share = self.low_share
            self._queue_cycle.foreign = None if self.foreign is None else Lanes.among(self.foreign)

    def _update_queue_cycle(self) -> None:
        """As kombu's, but in the order in which queues were added: kombu hands over a set."""
        self._queue_cycle.update([q for q in self._active_queues if q not in self.active_fanout_queues])

    def _queue_bind(self, exchange: Any, routing_key: Any, pattern: Any, queue: Any) -> None:
        """As kombu's, but a full server, which refuses even this, is no error: consumers make room."""
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except ResponseError as exc:
            if "maxmemory" not in str(exc):
                raise
            logger.warning(Event.NOT_BOUND, {"queue": queue, "error": exc})

    def put(self, queue: str, texts: Sequence[str], *, refused: Refused | None = None) -> None:
        """Push messages that ``wire.py`` has written; see ``PushConnection.push``."""
        if self._pushing is None or self._pushing.is_inherited:
            client = self.Client(connection_pool=self.pool, single_connection_client=True)
            self._pushing = PushConnection(client)
        pushing = self._pushing
        try:
            pushing.push(self.key(queue), texts, refused)
        except BaseException as exc:  # whatever it was: the connection may have an answer to come
            self._pushing = None
            pushing.close()
            if isinstance(exc, self.connection_errors) and self.connection:
                self.connection.client.maybe_switch_next()  # closes this channel when there is a next address
            raise

    def look(self) -> None:
        """See what the broker has answered to the last ``put``; see ``PushConnection.look``."""
        if self._pushing is not None and not self._pushing.is_inherited:
            self._pushing.look()

    def key(self, name: str) -> str:
        """The whole key of ``name``, with the prefix."""
        return f"{self.global_keyprefix}{name}"

    @property
    def whole_keys(self) -> Any:
        """A client that takes whole keys: kombu's adds the prefix in some commands and not in others.

        It has connections of its own. At ``client``'s a draw may still be waiting for its reply.
        """
        return redis.redis.Redis(connection_pool=self.pool)

    def lengths(self, lists: Sequence[str]) -> dict[str, int]:
        """How many messages are in each of ``lists``; all are asked in one go."""
        with self.whole_keys.pipeline(transaction=False) as pipe:
            for name in lists:
                pipe.llen(self.key(name))
            return dict(zip(lists, map(int, pipe.execute()), strict=True))

    def queue_purge(self, queue: str, **kwargs: Any) -> int:
        """Cancel the jobs that wait in a queue, then drop its messages: the ledger would resend them."""
        app = getattr(self.connection.client, "app", None)
        if app is None:
            return int(super().queue_purge(queue, **kwargs))
        return int(app.control.purge_queues(self, [queue]))

    def _create_client(self, asynchronous: bool = False) -> Any:
        # kombu makes a client for every message that is published: about a third of its cost.
        if asynchronous:
            return super()._create_client(asynchronous=True)
        if self._publisher is None:
            self._publisher = super()._create_client()
        return self._publisher

    def _disconnect_pools(self) -> None:
        self._publisher = self._pushing = None
        super()._disconnect_pools()

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask for as many messages of one queue as this worker may hold, in one command.

        BLMPOP is of Redis 7; an older server is asked for one at a time, and so is every server while a
        share of the draws is the lower queues'.
        """
        capacity = self.qos.can_consume_max_estimate()
        one_at_a_time = capacity == 1 or self.low_share or self.connection.one_at_a_time
        queues = [] if one_at_a_time else self._queue_cycle.consume(len(self.active_queues))
        self._in_bulk = bool(queues)
        self._brpop_sent_at = time.monotonic()
        wait = self.brpop_timeout if timeout is None else timeout
        if not queues:
            super()._brpop_start(wait)
            return
        self._in_poll = self.client.connection
        count = min(capacity or _MOST, _MOST)
        lists = map(self.key, queues)  # kombu does it for BRPOP; in the reply it takes the prefix off
        ask = ("BLMPOP", wait or 0, len(queues), *lists, "RIGHT", "COUNT", count)
        self.client.connection.send_command(*ask)

    def _brpop_read(self, **options: Any) -> bool:
        client = self.client
        try:
            try:
                reply = client.parse_response(client.connection, "BRPOP", **options)
            except self.connection_errors as exc:
                if not (self._in_bulk and _is_no_bulk(exc)):
                    client.connection.disconnect()  # the next turn of the loop connects anew
                    raise
                logger.info(Event.ONE_AT_A_TIME, {"error": exc})
                self.connection.one_at_a_time = True
                raise Empty from exc
            if not reply:
                raise Empty
            key, found = reply
            _, consumer, place = self._queue_cycle.drawn[bytes_to_str(key)]
            items = found if self._in_bulk else [found]
            if self.lean_lane is not None and consumer in self.active_queues:
                items = self.lean_lane.take(items, place, self)
            for item in items:
                self.connection._deliver(parse(item, place), consumer)
            return True
        finally:
            self._in_poll = None  # this connection waits for nothing until it asks again
            self._flush_brpop_reauth()

    def _flush_brpop_reauth(self) -> None:
        """As kombu's; below 5.7 it has none."""
        if flush := getattr(super(), "_flush_brpop_reauth", None):
            flush()


class Connection(kombu.Connection):
    """A connection of our transport, to the first of its addresses that answers."""

    def __init__(self, hostname: Any = "localhost", *args: Any, **kwargs: Any) -> None:
        require_versions()
        if isinstance(hostname, list | tuple):
            hostname = addresses.SEPARATOR.join(hostname)
        if hostname and "://" in hostname:  # of the settings, of ``celery -b``, of ``app.connection``
            hostname = addresses.for_broker(hostname)
            kwargs["transport"] = transport_of(hostname)
        kombu.Connection.__init__(self, hostname, *args, **kwargs)
        if self.transport_cls == SENTINEL_TRANSPORT:
            self.cycle = None  # a list of sentinels is one address: each new connection asks all of them

    def _init_params(self, *args: Any, **params: Any) -> None:
        # For a socket, and for all but the first address of a list, kombu takes the class from the scheme.
        if params.get("transport") in addresses.SCHEMES:
            params["transport"] = transport_of(params["transport"])
        super()._init_params(*args, **params)

    def _ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """As kombu's, but try the next address too. kombu does not: a producer has no retries there."""
        began = time.monotonic()
        for left in reversed(range(len(self.alt) if self.cycle else 1)):
            try:
                return super()._ensure_connection(*args, **kwargs)
            except Exception:  # whatever this address answers: try the next one
                self.maybe_switch_next()
                if not left or time.monotonic() - began > _QUICK:
                    raise
        raise AssertionError("no address was tried")

    #: Waits so many seconds between two tries. None: ``time.sleep``.
    wait: Callable[[float], None] | None = None

    def ensure_connection(self, errback: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Retry sooner than Celery, whose pauses grow by two seconds each."""
        if self.wait is None:
            quick = {"interval_start": 0.2, "interval_step": 0.2, "interval_max": 1.0}
            return super().ensure_connection(errback, *args, **(quick | kwargs))
        at_once = {"interval_start": 0, "interval_step": 0, "interval_max": 0}
        return super().ensure_connection(
            self._report_and_wait(errback, self.wait), *args, **kwargs, **at_once
        )

    def _report_and_wait(self, errback: Any, wait: Callable[[float], None]) -> Callable[..., None]:
        tries = itertools.count()

        def failed(exc: BaseException, _: float) -> None:
            number = next(tries)  # of several addresses each is tried before there is a pause
            whole = not self.cycle or self.completes_cycle(number)
            seconds = min(0.2 * (number + 1), 1.0) if whole else 0.0
            if errback:
                errback(exc, seconds)
            if seconds:
                wait(seconds)

        return failed

    def Pool(self, limit: int | None = None, **kwargs: Any) -> Any:  # noqa: N802  # kombu's name for it
        """A pool of connections of this kind: kombu's own would hand out its own."""
        return ConnectionPool(self, limit, **kwargs)

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """The address with the broker's scheme, not the transport class: Flower reads it."""
        uri: str = super().as_uri(*args, **kwargs)
        scheme = addresses.TLS if self.ssl else addresses.PLAIN
        return uri.replace(SENTINEL_TRANSPORT, addresses.SENTINEL, 1).replace(TRANSPORT, scheme, 1)


class PooledConnection(Connection, of_kombu.PooledConnection):
    def __init__(self, pool: Any, **kwargs: Any) -> None:
        self._pool = pool
        super().__init__(**kwargs)


class ConnectionPool(of_kombu.ConnectionPool):
    def new(self) -> PooledConnection:
        return PooledConnection(self, **dict(self.connection._info(resolve=False)))


class Transport(redis.Transport):
    """kombu's transport, which treats a server that refuses commands as a connection error.

    A server refuses when it was demoted (READONLY), cannot save (MISCONF), is full (OOM) or has lost its
    replicas. Somebody will repair it. A worker that ended because of it would have to be started by hand.
    """

    Channel = Channel
    one_at_a_time = False  # whether its server does not know BLMPOP, or forbids it
    connection_errors = (*redis.Transport.connection_errors, ResponseError)
    _ticks: Any = None  # the loop's callbacks, and those of them that this transport added
    _watch: Any = None  # the timer of ``_require_replies``

    @property
    def stands_alone(self) -> bool:
        """Whether there is no other server to go to."""
        return not self.client.cycle

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        before = set(loop.on_tick)
        super().register_with_event_loop(connection, loop)
        self._ticks = loop.on_tick, loop.on_tick - before
        if not self.stands_alone:
            self._watch = loop.call_repeatedly(1.0, self._require_replies)

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """As kombu's; a worker of green threads, which has no event loop, looks soon whether it may draw."""
        if timeout and any(each.active_queues and not each.qos.can_consume() for each in self.channels):
            timeout = min(timeout, _FULL)
        super().drain_events(connection, timeout=timeout)

    def _require_replies(self) -> None:
        """End the connection when a draw gets no reply: its server hangs, or cannot be reached any more.

        kombu ends it only after half a minute, and the one for remote control after a minute and more.

        Raises:
            redis.exceptions.ConnectionError: the worker connects anew, where another server answers.
        """
        now = time.monotonic()
        for channel in self.channels:
            sent = channel._brpop_sent_at if channel._in_poll else None
            if sent is not None and now - sent > channel.brpop_timeout + _OVERDUE:
                raise redis.redis.ConnectionError(f"no reply to a draw for {now - sent:.0f} s")

    def close_connection(self, connection: Any) -> None:
        """Remove this connection's callbacks from the loop: kombu leaves them there at each reconnect."""
        if self._watch is not None:
            self._watch.cancel()
        if self._ticks is not None:
            of_loop, mine = self._ticks
            of_loop.difference_update(mine)
        super().close_connection(connection)


def _is_no_bulk(error: BaseException) -> bool:
    """Whether the server does not know BLMPOP, or forbids it. Other refusals begin with a code."""
    if type(error) not in (ResponseError, NoPermissionError):
        return False
    code = str(error).partition(" ")[0]
    return not (code.isalpha() and code.isupper())


#: Its name for kombu, and that of the one which asks sentinels.
TRANSPORT = f"{Transport.__module__}:{Transport.__name__}"
SENTINEL_TRANSPORT = "celeriac.broker.sentinel:SentinelTransport"


def transport_of(address: str) -> str:
    """The name of the transport for an address, for a list of them, or for a scheme."""
    return SENTINEL_TRANSPORT if address.startswith(addresses.SENTINEL) else TRANSPORT


def require_versions() -> None:
    """Refuse versions of kombu and redis-py that cannot send. Jobs would be written and never run.

    Raises:
        VersionsDoNotFit: kombu cannot use this redis-py.
    """
    try:
        redis.Channel._get_client(_NO_PREFIX)
    except VersionMismatch as exc:
        raise VersionsDoNotFit(kombu.__version__, redis.redis.__version__, str(exc)) from None


#: A channel as far as kombu looks at it when it chooses its client.
_NO_PREFIX = SimpleNamespace(global_keyprefix="")
