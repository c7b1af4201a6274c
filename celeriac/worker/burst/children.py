"""Celery's pool of processes, with a page for each child and up to two bundles in one."""

from __future__ import annotations

import fcntl
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from celery.concurrency import asynpool
from celery.utils.functional import noop

from celeriac.worker.burst.child import REPORT
from celeriac.worker.burst.coroutine_channel import Channel
from celeriac.worker.burst.coroutine_runner import Worker
from celeriac.worker.burst.coroutine_slots import Slots
from celeriac.worker.burst.page import Page

#: Bytes. The pipe to a child takes two bundles: what does not fit would be written piece by piece.
_PIPE = 256 * 1024

_SET_SIZE = getattr(fcntl, "F_SETPIPE_SZ", 1031)  # of Linux; others refuse the number

#: So many children are remembered, the latest, for what they had taken up when they died.
_REMEMBERED = 256

#: Bundles that a child holds at most: one that it runs and one that it will run next.
_EACH = 2


class BusyChildren:
    """Which children take no bundle now; in place of the set in which Celery keeps those at work.

    A child is named by the number of the pipe to it, as in Celery's pool.

    Args:
        up: the children that are there.
    """

    def __init__(self, up: Callable[[], set[int]]) -> None:
        self._up = up
        self._held: dict[int, int] = {}
        #: Children that are at a long job: nothing is to wait behind it.
        self.slow: set[int] = set()
        #: Children that end when their coroutines have, and take no bundle any more.
        self.leaving: set[int] = set()

    def __contains__(self, child: int) -> bool:
        if child in self.leaving:
            return True
        held = self._held.get(child, 0)
        if held == 1 and child not in self.slow:
            return any(not self._held.get(other) for other in self._up())
        return held >= 1

    def __iter__(self) -> Iterator[int]:
        return (child for child in self._up() if child in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def add(self, child: int) -> None:
        """A bundle is sent to the child."""
        self._held[child] = self._held.get(child, 0) + 1

    def ended(self, child: int) -> None:
        """The child has ended a bundle."""
        self.slow.discard(child)
        if (held := self._held.pop(child, 0)) > 1:
            self._held[child] = held - 1

    def discard(self, child: int) -> None:
        """The child is gone."""
        self.slow.discard(child)
        self.leaving.discard(child)
        self._held.pop(child, None)

    def clear(self) -> None:
        self._held.clear()
        self.slow.clear()
        self.leaving.clear()

    def room(self, waiting: int, *, ahead: bool) -> bool:
        """Whether there is a child for one more bundle.

        Args:
            waiting: bundles that are not sent yet.
            ahead: whether it may wait in a child that is at work.
        """
        free = 0
        for child in self._up():
            if child in self.leaving:
                continue
            held = self._held.get(child, 0)
            free += 1 if held == 0 else 0
            free += _EACH - max(held, 1) if ahead and held < _EACH and child not in self.slow else 0
        return waiting < free


class Children(asynpool.AsynPool):
    """
    Attributes:
        on_report: takes a bundle's number and what its child tells before the bundle has ended.
        on_bundle_back: takes billiard's handle of a bundle that its child did not take up; returns False
            for anything else.
        on_up, on_down: take a child that was made, and one that has ended.

    Args:
        coroutines: how many coroutines run in each child, beside what it is at.
    """

    Worker = Worker
    _put_back: Any
    on_process_down: Any
    on_report: Callable[[int, list[Any]], None]
    on_bundle_back: Callable[[Any], bool]
    on_up: Callable[[Any], None]
    on_down: Callable[[Any], None]

    def __init__(self, *args: Any, coroutines: int = 0, **kwargs: Any) -> None:
        self._coroutines = coroutines
        self.on_up = self.on_down = noop
        self._channels: list[Channel] = []
        self._made: deque[Any] = deque(maxlen=_REMEMBERED)
        super().__init__(*args, **kwargs)
        self._busy_workers = self.busy = BusyChildren(lambda: self._all_inqueues)

    def WorkerProcess(self, worker: Any) -> Any:  # noqa: N802  # billiard's name for it
        worker.page = Page()
        worker.max_jobs, worker.maxtasks = worker.maxtasks, None
        worker.max_memory, worker.max_memory_per_child = worker.max_memory_per_child or 0, None
        if self._coroutines:
            worker.channel, worker.slots = Channel(), Slots(self._coroutines)
            worker.channels = self._channels = [one for one in self._channels if one.is_open]
            self._channels.append(worker.channel)
        process = super().WorkerProcess(worker)
        process.page, process.channel, process.slots = worker.page, worker.channel, worker.slots
        process.free_slots = list(range(self._coroutines))
        process.leaves = False
        self._made.append(process)
        return process

    def _create_worker_process(self, i: int) -> Any:
        process = super()._create_worker_process(i)
        if process.channel is not None:
            process.channel.forked()
            self.on_up(process)
        return process

    def _create_process_handlers(self, hub: Any) -> None:
        super()._create_process_handlers(hub)
        down = self.on_process_down

        def on_process_down(process: Any) -> None:
            down(process)
            self.on_down(process)

        self.on_process_down = on_process_down

    def _worker_active(self, worker: Any) -> bool:
        """Whether a child is at something, so that it is not chosen when the pool shrinks."""
        return len(worker.free_slots) < self._coroutines or bool(super()._worker_active(worker))

    def create_process_queues(self) -> Any:
        queues = super().create_process_queues()
        with suppress(OSError):  # the system allows no more to this user
            fcntl.fcntl(queues[0]._writer.fileno(), _SET_SIZE, _PIPE)
        return queues

    def create_result_handler(self) -> Any:
        handler = super().create_result_handler()
        handler.state_handlers[REPORT] = lambda bundle, reports: self.on_report(bundle, reports)
        return handler

    def on_job_ready(self, job: int, i: Any, obj: Any, inqW_fd: int) -> None:  # noqa: N803  # billiard's name
        self.busy.ended(inqW_fd)

    def _create_write_handlers(self, hub: Any, *args: Any, **kwargs: Any) -> None:
        super()._create_write_handlers(hub, *args, **kwargs)
        put_back = self._put_back

        def give_back(result: Any) -> None:
            if not self.on_bundle_back(result):
                put_back(result)

        self._put_back = give_back

    def taker_of(self, bundle: int) -> Any:
        """The child that took this bundle up and has taken up no other since, alive or dead; None: none has.

        Celery's own note of the child to which it was written cannot be relied on: it points to a new child
        as soon as that has a pipe of the same number.
        """
        return next((process for process in self._made if process.page.place.bundle == bundle), None)

    def process_of(self, pid: int | None) -> Any:
        """The child with this process id, alive or not reaped yet; None: there is none."""
        return next((process for process in self._pool if process.pid == pid), None)
