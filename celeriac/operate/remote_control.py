"""Celery's remote control, where revoke and purge cancel jobs in the ledger, for ever.

Plain Celery keeps revoked ids in the memory of the workers that live now, and purges messages only. The
ledger would send those messages again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import click
from celery.app.control import Control as CeleryControl
from celery.app.control import Inspect as CeleryInspect
from kombu.pidbox import Mailbox as KombuMailbox
from kombu.pidbox import Node as KombuNode
from kombu.utils.objects import cached_property

from celeriac.events import Event
from celeriac.ids import row_id
from celeriac.ledger.reads.stamps import stamped
from celeriac.ledger.writes.cancel import Mode, cancel
from celeriac.operate.purging import purge

logger = logging.getLogger(__name__)

_BATCH = 500
_BY_ID, _BY_STAMP = frozenset({"revoke", "terminate"}), "revoke_by_stamped_headers"


class Inspect(CeleryInspect):
    def hello(self, from_node: str, revoked: Any = None) -> Any:
        """Ask the other workers, as a worker does that starts, what they know of revoked jobs.

        Where there is none whose answer could matter, nobody is asked: Celery waits a second for answers.
        """
        if self.connection is not None and self._nobody_knows_more(from_node):
            return {}
        return super().hello(from_node, revoked)

    def _nobody_knows_more(self, node: str) -> bool:
        """Jobs of ours are cancelled in the ledger; the memory of workers has what plain producers sent."""
        if not self.app.settings.adopt_foreign:
            return True
        box = f"{self.app.control.mailbox.namespace}.pidbox"
        try:
            bound = {queue for *_, queue in self.connection.default_channel.get_table(box)}
        except self.app.broker_errors:
            return False
        return bound <= {f"{node}.{box}"}


#: Commands that look at no job.
_NOT_OF_JOBS = frozenset(
    {
        "ping",
        "clock",
        "conf",
        "registered",
        "heartbeat",
        "disable_events",
        "hello",
        "election",
    }
)


class Node(KombuNode):
    """A worker's end of the remote control. Celery's commands look at Celery's own sets of requests."""

    def handle(self, method: str, arguments: Any = None) -> Any:
        """As kombu's; before, the worker fills these sets with what it holds."""
        lean = getattr(self.state.consumer, "lean", None)
        if lean is not None and method not in _NOT_OF_JOBS:
            lean.show_all()
        return super().handle(method, arguments)


class Mailbox(KombuMailbox):
    node_cls = Node


class Control(CeleryControl):
    Mailbox = Mailbox

    @cached_property
    def inspect(self) -> Any:
        return self.app.subclass_with_self(Inspect, reverse="control.inspect")

    def broadcast(
        self, command: str, arguments: Mapping[str, Any] | None = None, *rest: Any, **options: Any
    ) -> Any:
        """Cancel in the ledger what a command revokes, then broadcast it as Celery does."""
        if command not in _BY_ID and command != _BY_STAMP:
            return super().broadcast(command, arguments, *rest, **options)
        self._cancel(command, {**(arguments or {}), **options})
        try:
            return super().broadcast(command, arguments, *rest, **options)
        except self.app.broker_errors as exc:  # the cancel is in the ledger, where the keepers find it
            logger.warning(Event.REVOKE_NOT_TOLD, {"error": type(exc).__name__})
            return None

    def purge(self, connection: Any = None) -> int:
        """Cancel every job that waits in the queues that are consumed from, and drop their messages.

        Returns:
            The number of jobs and of messages of foreign producers.
        """
        with self.app.connection_or_acquire(connection) as found:
            return self.purge_queues(found.default_channel, list(self.app.amqp.queues.consume_from))

    def purge_queues(self, channel: Any, queues: Iterable[str]) -> int:
        """Purge these lanes or levels; ``channel`` is of the broker that holds their messages.

        What plain Celery producers have sent to them is dropped, too.
        """
        return purge(self.app, channel, self._lists(queues))

    def _lists(self, queues: Iterable[str]) -> list[str]:
        known = self.app.amqp.queues
        spared = {each for name in _spared() for each in known.lists(name)}
        lists = dict.fromkeys(each for name in queues for each in known.lists(name) if each not in spared)
        foreign = known.lanes.foreign if self.app.settings.adopt_foreign else _nothing
        return [each for own in lists for each in (own, *foreign(own))]

    discard_all = purge

    def _cancel(self, command: str, arguments: Mapping[str, Any]) -> None:
        mode = Mode.HARD if command == "terminate" or arguments.get("terminate") else Mode.SOFT
        for ids in self._by_stamp(arguments) if command == _BY_STAMP else _by_id(arguments):
            self.app.database.again(partial(cancel, ids=ids, mode=mode))

    def _by_stamp(self, arguments: Mapping[str, Any]) -> Iterator[list[UUID]]:
        wanted, beyond = _stamps(arguments.get("headers")), None
        while True:
            with self.app.database.reading() as connection:
                ids, beyond = stamped(connection, wanted, limit=_BATCH, beyond=beyond)
            if ids:
                yield ids
            if beyond is None:
                return


def _spared() -> list[str]:
    """The queues that ``celery purge -X`` names: Celery compares them with the names of lists."""
    context = click.get_current_context(silent=True)
    found = context.params.get("exclude_queues") if context is not None else None
    return list(found or ())


def _nothing(_: str) -> tuple[str, ...]:
    return ()


def _by_id(arguments: Mapping[str, Any]) -> Iterator[list[UUID]]:
    ids = [job for job in map(row_id, _several(arguments.get("task_id"))) if job is not None]
    if ids:
        yield ids


def _stamps(headers: Any) -> dict[str, Sequence[Any]]:
    """The headers of ``revoke_by_stamped_headers``: a dict, or ``name=value`` of the command line."""
    if isinstance(headers, Mapping):
        return {name: _several(value) for name, value in headers.items()}
    found: dict[str, list[Any]] = {}
    for each in headers or ():
        name, _, value = str(each).partition("=")
        found.setdefault(name, []).append(value)
    return dict(found)


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
