"""Coroutines in the children of the burst pool, as the worker's main process knows them.

They run beside what the children are at, so many in each, and travel one by one on a channel of their own.
"""

from __future__ import annotations

import select
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from inspect import isgenerator
from itertools import count
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.pool import CLOSE, RUN, WorkersJoined
from celery.app.task import Task as CeleryTask
from celery.worker import state
from kombu.serialization import pickle

from celeriac.application import Celeriac
from celeriac.task.event_loop import is_coroutine
from celeriac.worker.burst.bundle import BundledJob, Waiting
from celeriac.worker.burst.child import Lean, Report
from celeriac.worker.burst.children import Children
from celeriac.worker.burst.coroutine_channel import BACK, BEGIN, CANCEL, ENDED, LEAVES, STOP
from celeriac.worker.burst.failures import lost, timed_out
from celeriac.worker.gate.lean_job import LeanJob

#: Seconds. Celery hears of a coroutine that has run so long, as of any job.
_LATE = 0.05

_EVERY = 0.05  # seconds between two looks while the pool ends

#: Seconds after which a child is killed in which a coroutine does not end although it was told to.
_GRACE = 5.0


def how_many_each(app: Celeriac) -> int:
    """How many coroutines run in each child beside what it is at; 0 where no task is an ``async def``."""
    if not any(is_coroutine(task) for task in app.tasks.values()):
        return 0
    given = app.async_concurrency
    return app.settings.async_concurrency if given is None else given


@dataclass(slots=True, eq=False)
class Running:
    """A coroutine that was sent to a child.

    Attributes:
        number: names it in messages.
        slot: of the child's.
        told_at: when it was told to end, on the monotonic clock.
    """

    job: BundledJob
    process: Any
    number: int
    slot: int
    told_at: float | None = None

    @property
    def started(self) -> float | None:
        """When it was begun; None: it was not yet, or it has ended."""
        started: float | None = self.process.slots.started(self.slot, self.number)
        return started


class Coroutines:
    """In the event loop's thread alone.

    Args:
        each: how many run in a child at a time; 0: none does beside what it is at.
        tasks: the app's, by their names.
        common: what jobs of the lean lane have in common.
        record: takes outcomes that were told, when there are no more of them for now.
        recall: takes back the bundles that a child has not taken up, as it takes no more.
    """

    def __init__(
        self,
        children: Children,
        each: int,
        tasks: Mapping[str, Any],
        common: Callable[[list[BundledJob]], Lean | None],
        *,
        record: Callable[[], None],
        recall: Callable[[Any], None],
    ) -> None:
        self._children = children
        self.each = each
        self._tasks = tasks
        self._known: dict[str, bool] = {}
        self._common = common
        self._record = record
        self._recall = recall
        self._waiting: deque[Waiting | LeanJob] = deque()
        self._running: dict[int, Running] = {}
        self._numbers = count(1)
        self._hub: Any = None
        self._stopping = False  # nothing is begun any more
        #: Pids of children that died while they ran coroutines, the latest.
        self.died_with: deque[int] = deque(maxlen=64)
        children.on_up, children.on_down = self.up, self.down

    def __len__(self) -> int:
        """How many were sent and have not ended."""
        return len(self._running)

    def runs(self, task: object) -> bool:
        """Whether jobs of the task with this name are coroutines; batches are none."""
        if not self.each or not isinstance(task, str):
            return False
        if (known := self._known.get(task)) is None and task in self._tasks:
            found = self._tasks[task]
            known = self._known[task] = is_coroutine(found) and found.Strategy == CeleryTask.Strategy
        return bool(known)

    def places(self) -> int:
        """How many run at a time."""
        return self.each * int(self._children._processes)

    def watch(self, hub: Any) -> None:
        """Have ``hub`` watch the channels; it forgets all that it watches when the broker is lost."""
        self._hub = hub
        for process in self._open():
            self.up(process)

    # ---- jobs in and out

    def line_up(self, job: Waiting | LeanJob) -> None:
        self._waiting.append(job)

    def feed(self, enter: Callable[[Waiting | LeanJob], list[BundledJob]]) -> None:
        """Begin as many as there are places for.

        Args:
            enter: has a job enter the pool; nothing, when it was revoked or refused meanwhile.
        """
        while self._waiting and (process := self._freest()) is not None:
            for job in enter(self._waiting.popleft()):
                self._send(process, job)

    def _freest(self) -> Any:
        """The child that runs the fewest; None: none has a free place."""
        free = [one for one in self._children._pool if one.free_slots and _takes_more(one)]
        return max(free, key=lambda one: len(one.free_slots), default=None)

    def _send(self, process: Any, job: BundledJob) -> None:
        slot, number = process.free_slots.pop(), next(self._numbers)
        job.position = number
        self._running[number] = Running(job, process, number, slot)
        self._say(process, (BEGIN, number, slot, job.call, self._common([job])))

    def _say(self, process: Any, message: tuple[Any, ...]) -> None:
        if not process.channel.send(message) and self._hub is not None:
            self._flush(process)

    def _flush(self, process: Any) -> None:
        if process.channel.flush():
            self._hub.remove_writer(process.channel.writing_fileno())
        else:
            self._hub.add_writer(process.channel.writing_fileno(), self._flush, process)

    # ---- words from the children

    def _on_readable(self, process: Any) -> None:
        self._hear(process)
        self._record()

    def files(self) -> list[int]:
        """The numbers of the channels."""
        return [process.channel.fileno() for process in self._open()]

    def _open(self) -> list[Any]:
        """The children that there are, where they run coroutines."""
        return [one for one in self._children._pool if self.each and one.channel.is_open]

    def hear_all(self) -> None:
        """Take what all children have said."""
        for process in self._open():
            self._hear(process)
            process.channel.flush()
        self._record()

    def _hear(self, process: Any) -> None:
        for kind, *rest in process.channel.receive():
            if kind == LEAVES:
                process.leaves = True
                self._children.busy.leaving.add(process.inqW_fd)
                self._recall(process)
            elif (running := self._running.pop(rest[0], None)) is not None:
                process.free_slots.append(running.slot)
                if kind == ENDED:
                    _tell(running, rest[1])
                elif kind == BACK:
                    self._give_back(running)

    def _give_back(self, running: Running) -> None:
        """It was not begun."""
        job = running.job
        if not job.ended and running.told_at is None and not self._stopping:
            job.ended = True
            if job.waiting is not None:
                self._waiting.appendleft(job.waiting)

    # ---- children

    def up(self, process: Any) -> None:
        """A child was made, or is watched anew."""
        if self._hub is not None and process.channel.is_open:
            self._hub.add_reader(process.channel.fileno(), self._on_readable, process)
            self._flush(process)

    def down(self, process: Any) -> None:
        """A child has ended: what it had begun is lost with it."""
        if process.channel is None or not process.channel.is_open:
            return
        self._hear(process)
        mine = [one for one in self._running.values() if one.process is process]
        error = lost(process.exitcode)
        for running in mine:
            del self._running[running.number]
            if (started := running.started) is None:
                self._give_back(running)
                continue
            self.died_with.append(process.pid)
            running.job.accept(process.pid, started)
            running.job.end(error, returned=False)
        if self._hub is not None:
            self._hub.remove(process.channel.fileno())
            self._hub.remove(process.channel.writing_fileno())
        process.channel.close()
        self._children.busy.leaving.discard(process.inqW_fd)
        self._record()

    # ---- acts on a job

    def look(self) -> None:
        """Look at all that run: limits, and what does not end although it was told to."""
        now = time.monotonic()
        for running in list(self._running.values()):
            if running.number not in self._running or (started := running.started) is None:
                continue
            job, ran = running.job, now - started
            hard = bool(job.hard) and ran >= (job.hard or 0)
            soft = bool(job.soft) and not job.soft_sent and ran >= (job.soft or 0)
            if ran >= _LATE or soft or hard:
                job.accept(running.process.pid, started)
            if hard and not job.ended:
                self._end_hard(running)
            elif running.told_at is not None and now - running.told_at > _GRACE:
                self._kill(running.process)
            elif soft and running.told_at is None:
                job.soft_sent = True
                self._say(running.process, (CANCEL, running.number, None))
                job.time_out(soft=True)

    def _end_hard(self, running: Running) -> None:
        """Kill the child; whatever else it runs is lost with it."""
        self._hear(running.process)
        if self._running.pop(running.number, None) is None:
            return  # it has just ended
        job = running.job
        self._kill(running.process)
        job.end(timed_out(job.hard), returned=False)
        job.time_out(soft=False)

    def _kill(self, process: Any) -> None:
        self.died_with.append(process.pid)
        process.leaves = True
        self._children._timeout_handler._trywaitkill(process)

    def cancel(self, job: BundledJob, signum: int) -> bool:
        """Tell a coroutine to end; False: it is none, or has ended."""
        running = self._running_of(job)
        if running is None:
            return False
        if running.told_at is None:
            running.told_at = time.monotonic()
            self._say(running.process, (CANCEL, running.number, signum))
        return True

    def cancel_all(self) -> None:
        for running in list(self._running.values()):
            self.cancel(running.job, signal.SIGTERM)

    def stop(self, job: BundledJob) -> bool:
        """Stop one that Celery does not know to be begun: Celery terminates it when it is accepted."""
        running = self._running_of(job)
        if running is None:
            return False
        job.accept(running.process.pid, running.started or time.monotonic())
        return True

    def _running_of(self, job: BundledJob) -> Running | None:
        found = self._running.get(job.position)
        return found if found is not None and found.job is job else None

    def stop_all(self) -> None:
        """Begin none any more."""
        self._stopping = True
        for process in self._open():
            self._say(process, (STOP,))

    def show_running(self) -> None:
        """Tell Celery of all that were begun."""
        for running in list(self._running.values()):
            if (started := running.started) is not None:
                running.job.accept(running.process.pid, started)


def finish(coroutines: Coroutines, children: Children, look: Callable[[], None]) -> None:
    """Wait for the coroutines of a pool that is to end. The event loop runs no more.

    billiard waits for what it knows of, and reads nothing else meanwhile. So it comes after this.

    Args:
        look: sees to time limits.
    """
    results = children._result_handler
    while len(coroutines) and children._state in (RUN, CLOSE):
        if state.should_terminate:  # a cold shutdown: the ledger thread releases them
            coroutines.cancel_all()
        poll = select.poll()
        for fd in (*children._fileno_to_outq, *coroutines.files()):
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(_EVERY * 1000):
            if fd in children._fileno_to_outq:
                _read_result(results, fd)
        coroutines.hear_all()
        look()
        with suppress(WorkersJoined):
            children._join_exited_workers(shutdown=True)


def _read_result(results: Any, fd: int) -> None:
    """Go on reading what a child has sent through billiard's own pipe."""
    handler, args = results._hub.readers.get(fd, (results.handle_event, (fd,)))
    if isgenerator(handler):
        with suppress(StopIteration, OSError, EOFError):
            next(handler)
    else:
        handler(*args)


def _takes_more(process: Any) -> bool:
    """Whether a child may be given more: it is not to end."""
    ends = process.leaves or getattr(process, "_job_terminated", False)
    return not (ends or getattr(process, "_controlled_termination", False)) and process.exitcode is None


def _tell(running: Running, told: bytes) -> None:
    """Tell Celery the outcome that a child has told."""
    job, pid = running.job, running.process.pid
    try:
        report: Report = pickle.loads(told)
    except Exception:  # an author's exception that cannot be made anew here
        job.accept(pid, time.monotonic())
        job.end(ExceptionInfo(), returned=False)
        return
    if job.ended:
        return
    if report.returned and not report.value[0]:
        job.succeed(pid, report.started, report.seconds, report.value, result=report.result)
    else:
        job.accept(pid, report.started)
        job.end(report.value, returned=report.returned, seconds=report.seconds)
