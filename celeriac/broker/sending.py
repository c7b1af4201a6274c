"""Send messages: one rule for the door and for the dispatcher.

A row is marked as dispatched and committed, then its message is published. If publishing fails, the mark is
cleared and the broker is not tried again for a moment. If clearing fails too, the search for lost messages
finds the row. No row lock is held while the network is used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.broker import wire
from celeriac.broker.wire import Sendable
from celeriac.events import Event
from celeriac.headers import STAMP, carried, task_id

if TYPE_CHECKING:
    from kombu import Producer

    from celeriac.application import Celeriac
    from celeriac.broker.kept_producers import KeptProducers
    from celeriac.ledger.connection.database import Database
    from celeriac.ledger.writes.copy_in import SimilarJobs

logger = logging.getLogger(__name__)


_PORTION = 4 * 1024 * 1024  # characters of one command
_QUICK = 0.5  # a publish that failed sooner, in seconds, is tried again: its connection was old


def publish(producer: Producer, jobs: Sequence[Sendable]) -> None:
    """Send the messages of ``jobs``, each to the list of its queue. No exchange is used or declared.

    Raises:
        Exception: any error of the broker; any number of the messages may have been sent.
    """
    put = getattr(producer.channel, "put", None)
    if put is None:  # a connection of the caller's own
        for job in jobs:
            _publish_elsewhere(producer, job)
        return
    for queue, some in groupby(sorted(jobs, key=attrgetter("queue")), key=attrgetter("queue")):
        for texts in _in_portions(_texts(some)):
            put(queue, texts)


def send(
    app: Celeriac,
    jobs: Sequence[Sendable],
    *,
    producer: Producer | None = None,
    database: Database | None = None,
) -> bool:
    """Publish messages whose rows are marked and committed; return whether the broker took them.

    Never raises: the rows are accepted, and the dispatcher sends what could not be sent now.
    """
    if _sent(app, lambda to: publish(to, jobs), producer, len(jobs), jobs[0].id):
        return True
    _unmark(database or app.database, [job.id for job in jobs])
    return False


class SingleMessage:
    """The message of one of many calls. It can be made while the database writes the row of ``job``."""

    def __init__(self, app: Celeriac, job: Sendable) -> None:
        self._app = app
        self._job = job
        self._texts: list[str] | None = None

    def make(self) -> None:
        """Make it, and read the broker's answer to the message before. It neither raises nor waits."""
        self._texts = list(_texts([self._job]))
        self._app.amqp.kept_producers.look()

    def send(self) -> None:
        """As ``send``; the broker's answer is read when the next call follows at once.

        Each answer is waited for otherwise, while the processor has nothing else to do.
        """
        if self._texts is None:
            self.make()
        if not _sent(self._app, self._push, None, 1, self._job.id):
            _unmark(self._app.database, [self._job.id])

    def _push(self, producer: Producer) -> None:
        for text in self._texts or ():
            producer.channel.put(self._job.queue, [text], refused=self._refused)

    def _refused(self, error: Exception) -> None:
        _note_refused(self._app, 1, self._job.id, error)
        _unmark(self._app.database, [self._job.id])


def send_similar(app: Celeriac, jobs: SimilarJobs, texts: Sequence[str]) -> None:
    """Like ``send``, for jobs made from one template, whose messages are already written."""

    def put(producer: Any) -> None:
        for portion in _in_portions(texts):
            producer.channel.put(jobs.model.queue, portion)

    if not _sent(app, put, None, len(texts), jobs.rows[0][0]):
        _unmark(app.database, [UUID(row[0]) for row in jobs.rows])


def _sent(
    app: Celeriac, push: Callable[[Any], None], producer: Producer | None, count: int, first: object
) -> bool:
    began = time.monotonic()
    try:
        with nullcontext(producer) if producer else _kept_producer(app) as producer:
            try:
                push(producer)
            except Exception:  # any error of the broker: once more, with a new connection
                if time.monotonic() - began > _QUICK:
                    raise
                producer.revive(producer.connection)  # possibly to the next broker of a list
                push(producer)
        app.broker_state.worked()
        return True
    except Exception as exc:  # any error of the broker: the jobs are accepted all the same
        _note_refused(app, count, first, exc)
        return False


@contextmanager
def _kept_producer(app: Celeriac) -> Iterator[Producer]:
    """A producer of the app's own, which is kept for the next who sends if it works."""
    kept: KeptProducers = app.amqp.kept_producers
    producer = kept.take()
    try:
        yield producer
    except BaseException:  # whatever it was: another one is made
        kept.drop(producer)
        raise
    kept.keep(producer)


def _note_refused(app: Celeriac, count: int, first: object, error: Exception) -> None:
    app.broker_state.failed()
    logger.warning(Event.NOT_SENT, {"jobs": count, "error": type(error).__name__, "job": first})


def _texts(jobs: Iterable[Sendable]) -> Iterator[str]:
    for job in jobs:
        try:
            yield wire.write(job)
        except (TypeError, ValueError):  # one damaged row must not stop the others
            logger.exception(Event.NO_MESSAGE, {"job": job.id})


def _in_portions(texts: Iterable[str]) -> Iterator[list[str]]:
    """Split into lists that are small enough for one command. A larger text is a list of its own."""
    portion: list[str] = []
    size = 0
    for text in texts:
        if portion and size + len(text) > _PORTION:
            yield portion
            portion, size = [], 0
        portion.append(text)
        size += len(text)
    if portion:
        yield portion


def _publish_elsewhere(producer: Producer, job: Sendable) -> None:
    producer.publish(
        job.payload,
        exchange="",
        routing_key=job.queue,
        content_type=job.content_type,
        content_encoding=job.content_encoding,
        headers={**job.headers, STAMP: wire.stamp(job)},
        priority=job.priority,
        **{"correlation_id": task_id(job.headers, job.id), **carried(job.headers)},
        delivery_mode=wire.PERSISTENT,
        retry=False,
    )


def _unmark(database: Database, ids: list[UUID]) -> None:
    from celeriac.ledger.upkeep import dispatch  # the ORM is slow to import: not for a probe

    try:
        with database.statement() as connection:
            dispatch.unmark(connection, ids)
    except Exception:  # the mark stays: the search for lost messages finds the row
        logger.warning(Event.NOT_UNMARKED, {"jobs": len(ids)})
