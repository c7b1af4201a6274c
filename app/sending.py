"""The one rule for sending, for the door and the dispatcher alike.

A row is marked as dispatched and committed, then its message is published. A publish that fails
clears the mark if it can, and the broker is left alone for a moment; where even that fails, strand
detection repairs it. No row lock is held across the network.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from app.ledger import dispatch
from app.ledger.database import Database
from app.ledger.jobs import NewJob

if TYPE_CHECKING:
    from kombu import Producer

logger = logging.getLogger(__name__)

#: The header that carries what the ledger says of a message's attempt.
STAMP = "celeriac"

#: The header of a parked row that is the body of a chord: how many members it waits for.
CHORD = "celeriac_chord"

_FIRST_REST, _LONGEST_REST = 1.0, 10.0  # seconds that a failing broker is left alone
_QUICK = 0.5  # seconds within which a failed publish may be tried again: its connection was merely old


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is published for a row."""

    id: UUID
    queue: str
    priority: int
    payload: bytes
    content_type: str
    content_encoding: str
    headers: Mapping[str, Any]
    dispatch_count: int

    @classmethod
    def of(cls, job: NewJob) -> Envelope:
        return cls(
            job.id,
            job.queue,
            job.priority,
            job.payload,
            job.content_type,
            job.content_encoding,
            job.headers,
            job.stamp,
        )

    @classmethod
    def again(cls, message: Any) -> Envelope:
        """From a row's message (``app.ledger.claims.Message``)."""
        return cls(
            message.id,
            message.queue,
            message.priority,
            message.payload,
            message.content_type,
            message.content_encoding,
            message.headers,
            message.dispatch_count,
        )


class Broker:
    """Whether the broker can be bothered; one per process."""

    def __init__(self) -> None:
        self._rest = 0.0
        self._until = 0.0

    @property
    def resting(self) -> bool:
        return time.monotonic() < self._until

    def failed(self) -> None:
        self._rest = min(max(self._rest * 2, _FIRST_REST), _LONGEST_REST)
        self._until = time.monotonic() + self._rest

    def worked(self) -> None:
        self._rest = self._until = 0.0


def publish(producer: Producer, envelope: Envelope) -> None:
    """Send one message. The queue's own list is its address: no exchange, nothing to declare."""
    producer.publish(
        envelope.payload,
        exchange="",
        routing_key=envelope.queue,
        content_type=envelope.content_type,
        content_encoding=envelope.content_encoding,
        headers={**envelope.headers, STAMP: {"dispatch": envelope.dispatch_count}},
        priority=envelope.priority,
        correlation_id=str(envelope.id),
        delivery_mode=2,
        retry=False,
    )


def send(producer: Producer, envelope: Envelope, *, database: Database, broker: Broker) -> bool:
    """Publish a message whose row is marked and committed; return whether the broker took it.

    Never raises: the row is accepted, and the dispatcher sends what could not be sent now.
    """
    began = time.monotonic()
    try:
        try:
            publish(producer, envelope)
        except Exception:
            if time.monotonic() - began > _QUICK:
                raise
            publish(producer, envelope)  # its connection was merely old
        broker.worked()
        return True
    except Exception as exc:  # whatever the broker says, the job is accepted
        broker.failed()
        logger.warning(
            "message not sent, the dispatcher will: job %s, queue %s, %s",
            envelope.id,
            envelope.queue,
            type(exc).__name__,
        )
    unmark(database, [envelope.id])
    return False


def unmark(database: Database, ids: list[UUID]) -> None:
    """Clear the mark of rows whose messages were not sent, if it can be done. Never raises."""
    try:
        with database.statement() as connection:
            dispatch.unmark(connection, ids)
    except Exception:  # the mark stays: strand detection finds the row
        logger.warning("could not clear the mark of %d unsent rows; they are found as strands", len(ids))
