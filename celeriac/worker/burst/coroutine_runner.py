"""In a child: run coroutines beside the jobs of bundles, many at a time.

Each attempt has a thread, in which Celery's tracer waits for the coroutine; all coroutines of the process
share one event loop (``celeriac/task/event_loop.py``). Another thread takes what the main process says.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import SoftTimeLimitExceeded, Terminated
from celery import current_app
from kombu.serialization import pickle

from celeriac.task.event_loop import Interrupt, Stopped, interruptible
from celeriac.task.results.carried import CarriedResult, Carrier
from celeriac.task.results.stores import CARRYING
from celeriac.worker.burst import child
from celeriac.worker.burst.child import LONGEST, Lean, Report, Runner, unsendable
from celeriac.worker.burst.coroutine_channel import (
    BACK,
    BEGIN,
    CANCEL,
    ENDED,
    LEAVES,
    STOP,
    Channel,
    ChildEnd,
    Waker,
)
from celeriac.worker.burst.coroutine_slots import Slots
from celeriac.worker.gate.lean_job import Call, arguments


class CoroutineRunner:
    """One per child.

    Args:
        runner: of the jobs in bundles; it counts for both when the child is to end.
    """

    def __init__(self, end: ChildEnd, slots: Slots, runner: Runner) -> None:
        self._end = end
        self._slots = slots
        self._runner = runner
        self._threads = ThreadPoolExecutor(len(slots), "celeriac-coroutine")
        self._running: dict[int, Interrupt] = {}
        self._changed = threading.Condition()
        self._waker = Waker()
        self._stops = False  # nothing is begun any more
        self._is_orphan = False  # nobody is told any more
        self._told_leaving = False
        self._here = threading.local()
        self._backend = current_app.backend  # of the main thread
        self._context = copy_context()  # the same; what one attempt sets, the next one does not see

    def start(self) -> None:
        threading.Thread(target=self._serve, name="celeriac-coroutines", daemon=True).start()

    # ---- called by the main thread

    def wait(self, file: int) -> None:
        """Wait until there is something to read in ``file``, or the child is to end, without coroutines."""
        poll = select.poll()
        poll.register(file, select.POLLIN)
        poll.register(self._waker.fileno(), select.POLLIN)
        while not self._runner.leaves:
            if any(ready == file for ready, _ in poll.poll()):
                return
            self._waker.sleep()
        self.finish()

    def finish(self) -> None:
        """Begin nothing any more, and wait for what is begun."""
        self._leave()
        with self._changed:
            self._stops = True
            while self._running and not self._is_orphan:
                self._changed.wait()

    # ---- the thread that listens

    def _serve(self) -> None:
        while (message := self._end.receive()) is not None:
            kind, *rest = message
            if kind == BEGIN:
                self._begin(*rest)
            elif kind == CANCEL:
                self._cancel(*rest)
            elif kind == STOP:
                self._stops = True
        with self._changed:
            self._is_orphan = True
            self._changed.notify_all()

    def _begin(self, number: int, slot: int, call: bytes | Call, lean: Lean | None) -> None:
        interrupt = Interrupt()
        with self._changed:
            begun = not self._stops and self._runner.begin_coroutine()
            if begun:
                self._running[number] = interrupt
        self._leave()
        if not begun:
            self._send((BACK, number))
            return
        started = self._slots.begin(slot, number)
        run, read = self._context.copy().run, partial(self._read, call, lean)
        self._threads.submit(run, self._run, number, slot, started, read, interrupt)

    def _cancel(self, number: int, signum: int | None) -> None:
        """Cancel a coroutine.

        Args:
            signum: it is to end; None: it has reached its soft time limit.
        """
        interrupt = self._running.get(number)
        if interrupt is not None:
            interrupt.interrupt(SoftTimeLimitExceeded() if signum is None else Stopped(signum))

    def _leave(self) -> None:
        """If the child is to end, say so while coroutines still run: their ends are waited for."""
        if self._runner.leaves and not self._told_leaving:
            self._told_leaving = True
            self._send((LEAVES,))
            self._waker.wake()

    def _send(self, message: tuple[Any, ...]) -> None:
        with suppress(OSError):  # the main process is gone
            self._end.send(message)

    # ---- a thread of an attempt

    def _run(
        self,
        number: int,
        slot: int,
        started: float,
        read: Callable[[], tuple[Callable[..., Any], Sequence[Any]]],
        interrupt: Interrupt,
    ) -> None:
        value: Any
        returned = leave = False
        try:
            target, args = read()
            with interruptible(interrupt):
                value, returned = target(*args), True
        except Stopped as exc:
            value = _terminated(exc)
        except BaseException as exc:  # whatever it is, it is the outcome of this job
            leave = isinstance(exc, SystemExit | KeyboardInterrupt)
            value = ExceptionInfo()
        carrier: Carrier | None = getattr(self._here, "carrier", None)
        result = carrier.taken() if carrier is not None else None
        self._tell(number, Report(0, value, returned, started, time.monotonic() - started, result))
        self._slots.end(slot)
        self._runner.end_coroutine(leave=leave)
        with self._changed:
            del self._running[number]
            self._changed.notify_all()
        self._leave()

    def _read(self, call: bytes | Call, lean: Lean | None) -> tuple[Callable[..., Any], Sequence[Any]]:
        """The function to call and its arguments."""
        carrier = self._carrier()
        if isinstance(call, bytes):
            if carrier is not None:
                carrier.expect(None)
            target, args = pickle.loads(call)
            return target, args
        assert lean is not None
        args = arguments(call, hostname=lean.hostname, worker=lean.worker)
        if carrier is not None:
            carrier.expect(args[1])
        return lean.tracer, args

    def _carrier(self) -> Carrier | None:
        """What takes the results of this thread's jobs of the lean lane; the main process stores them."""
        if not hasattr(self._here, "carrier"):
            app = current_app._get_current_object()
            backend = app.backend  # each thread has its own, unless Celery was told otherwise
            is_own = backend is not self._backend
            self._here.carrier = None
            if is_own and type(backend) in CARRYING and app.conf.result_serializer == "json":
                self._here.carrier = backend.carrier = Carrier(app, _is_short)
        carrier: Carrier | None = self._here.carrier
        return carrier

    def _tell(self, number: int, report: Report) -> None:
        try:
            told = pickle.dumps(report, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as exc:  # what cannot be pickled, as in billiard's own loop
            told = pickle.dumps(unsendable(report, exc), protocol=pickle.HIGHEST_PROTOCOL)
        self._send((ENDED, number, told))


class Worker(child.Worker):
    """billiard's loop of a child that runs coroutines, too.

    Attributes:
        channel, slots: its own; None: it runs no coroutines.
        channels: those of all children.
    """

    channel: Channel | None = None
    slots: Slots | None = None
    channels: Iterable[Channel] = ()
    coroutines: CoroutineRunner | None = None

    def after_fork(self) -> None:
        super().after_fork()
        for other in self.channels:
            if other is not self.channel:
                other.close()
        if self.channel is not None and self.slots is not None:
            self.coroutines = CoroutineRunner(self.channel.in_child(), self.slots, self.runner)
            self.coroutines.start()

    def _make_child_methods(self, *args: Any, **options: Any) -> None:
        super()._make_child_methods(*args, **options)
        receive, inbox = self.wait_for_job, self.inq._reader

        def wait_for_job() -> Any:
            if self.coroutines is None:
                return receive()
            self.coroutines.wait(inbox.fileno())
            try:
                return receive()
            except SystemExit:
                if not child.was_terminated():
                    self.coroutines.finish()
                raise

        self.wait_for_job = wait_for_job


def _is_short(result: CarriedResult) -> bool:
    return len(result.meta) <= LONGEST


def _terminated(error: Stopped) -> ExceptionInfo:
    try:
        raise Terminated(*error.args)
    except Terminated:
        return ExceptionInfo()
