"""What a child of the burst pool does: take a bundle, run its jobs one by one, tell what became of them."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from billiard import common, current_process
from billiard.compat import mem_rss
from billiard.einfo import ExceptionInfo
from billiard.exceptions import SoftTimeLimitExceeded
from billiard.pool import EX_RECYCLE, MaybeEncodingError
from celery import current_app
from celery.concurrency import asynpool
from kombu.serialization import pickle

from celeriac.task.results.carried import CarriedResult, Carrier
from celeriac.task.results.stores import CARRYING
from celeriac.worker.burst.page import Page
from celeriac.worker.gate.lean_job import Call, arguments

#: The kind of message that tells of jobs before their bundle has ended, beside billiard's own kinds.
REPORT = 16

#: Seconds for which an outcome may wait for that of the next job.
_WAIT = 0.05

#: Bytes. A result that is longer is stored by the child: it would hold up the others on its way.
LONGEST = 4096


class Report(NamedTuple):
    """What became of one job.

    Attributes:
        position: in its bundle.
        value: what Celery's tracer returned; when the job raised beside it, the exception.
        returned: whether it is what the tracer returned.
        started: on the monotonic clock.
        seconds: how long it took.
        result: of a success, where it is to be stored by the main process. A success that carries what
            follows it, because the ledger did not take that, has the value of a failure.
    """

    position: int
    value: Any
    returned: bool
    started: float
    seconds: float
    result: CarriedResult | None = None


#: A success of which nobody wants to know more: position, start, seconds and result, as in ``Report``.
Success = tuple[int, float, float, CarriedResult | None]


class Lean(NamedTuple):
    """What the jobs of the lean lane in a bundle have in common.

    Attributes:
        tracer: Celery's function that runs an attempt.
        hostname, worker: the worker's node name and id.
    """

    tracer: Callable[..., Any]
    hostname: str
    worker: str


def run(
    bundle: int, calls: Sequence[bytes | Call], watched: bool, lean: Lean | None = None
) -> list[Report | Success]:
    """The function of a bundle, as billiard calls it in the child; see ``Runner.run``."""
    runner: Runner = current_process().runner
    return runner.run(bundle, calls, watched, lean)


class Runner:
    """One per child.

    Args:
        put: sends a message to the main process.
        max_jobs: the child ends after so many; None: never.
        max_memory: KiB; a child that uses more ends after its job. 0: it may use any.
    """

    def __init__(
        self, page: Page, put: Callable[[Any], None], *, max_jobs: int | None, max_memory: int
    ) -> None:
        self._page = page
        self._put = put
        self._left = max_jobs
        self._counting = threading.Lock()  # coroutines are begun and end in other threads
        self._max_memory = max_memory
        self._in_bundle = False  # if not, it is at a job that billiard alone knows of
        self._at_work = False  # whether an exception may be raised in the job at this moment
        self._place = (0, 0)
        self._lean: Lean | None = None  # of the bundle
        self._carrier: Carrier | None = None
        self._exit: BaseException | None = None  # with which a job asked for the end of its process

    @property
    def leaves(self) -> bool:
        """Whether the child is to end now."""
        return self._left is not None and self._left <= 0

    def begin_coroutine(self) -> bool:
        """Count a coroutine that is to be begun; False: the child is to end, and begins no more."""
        with self._counting:
            if self.leaves:
                return False
            if self._left is not None:
                self._left -= 1
        return True

    def end_coroutine(self, *, leave: bool) -> None:
        """A coroutine has ended.

        Args:
            leave: the child is to end, as it has asked for.
        """
        if leave or (self._max_memory and mem_rss() > self._max_memory):
            self._left = 0

    def run(
        self, bundle: int, calls: Sequence[bytes | Call], watched: bool, lean: Lean | None = None
    ) -> list[Report | Success]:
        """Run the jobs of a bundle; return what was not told yet.

        Args:
            bundle: its number.
            calls: the jobs, each pickled by itself: the function to call and its arguments. Or, for a job of
                the lean lane, what these are made of.
            watched: tell what each job returned, because somebody watches events.
            lean: None where no job is of the lean lane.
        """
        self._in_bundle, self._lean = True, lean
        if lean is not None and self._carrier is None:
            self._carry()
        try:
            return self._run(bundle, calls, watched)
        finally:
            self._in_bundle = False

    def _carry(self) -> None:
        """Take the results of jobs of the lean lane, which the main process stores."""
        app = current_app._get_current_object()
        if type(app.backend) in CARRYING and app.conf.result_serializer == "json":
            self._carrier = app.backend.carrier = Carrier(app, self._keep)

    def _keep(self, result: CarriedResult) -> bool:
        return len(result.meta) <= LONGEST and self._page.keep(self._place[1], result)

    def _run(self, bundle: int, calls: Sequence[bytes | Call], watched: bool) -> list[Report | Success]:
        page, told = self._page, time.monotonic()
        kept: list[Report | Success] = []
        if not page.take_up(bundle, len(calls)):
            return []
        for position, call in enumerate(calls):
            if not (begun := page.begin(position)):
                if begun is None:
                    break
                continue
            self._place = bundle, position
            returned, value = self._attempt(call)
            result = self._carrier.taken() if self._carrier is not None else None
            started, now = page.started, time.monotonic()
            told_now = bool(not returned or value[0])
            if told_now:  # before the next job, which may kill this process
                self._tell(bundle, [Report(position, value, returned, started, now - started, result)])
            elif watched:
                kept.append(Report(position, value, returned, started, now - started, result))
            else:
                kept.append((position, started, now - started, result))
            page.end(position, told=told_now)
            if self._exit is not None:
                raise self._exit
            if self._is_to_leave():
                page.leave(position + 1)
                break
            if kept and now - told > _WAIT:
                self._tell(bundle, kept)
                kept, told = [], now
        return kept

    def on_soft_limit(self, *_: Any) -> None:
        """The handler of the signal for a soft time limit."""
        if not self._in_bundle or (self._at_work and self._page.is_target(*self._place)):
            raise SoftTimeLimitExceeded

    def _attempt(self, call: bytes | Call) -> tuple[bool, Any]:
        try:
            return self._call(call)
        except SoftTimeLimitExceeded:  # it came in the moment before or after the job
            return False, ExceptionInfo()

    def _call(self, call: bytes | Call) -> tuple[bool, Any]:
        self._at_work = True
        try:
            target, args = self._read(call)
            return True, target(*args)
        except BaseException as exc:  # whatever it is, it is the outcome of this job
            self._at_work = False
            if was_terminated():
                raise
            if isinstance(exc, SystemExit | KeyboardInterrupt):
                self._exit = exc
            return False, ExceptionInfo()
        finally:
            self._at_work = False

    def _read(self, call: bytes | Call) -> tuple[Callable[..., Any], Sequence[Any]]:
        """The function to call and its arguments."""
        carrier = self._carrier
        if isinstance(call, bytes):
            if carrier is not None:
                carrier.expect(None)
            target, args = pickle.loads(call)
            return target, args
        assert self._lean is not None
        target, hostname, worker = self._lean
        args = arguments(call, hostname=hostname, worker=worker)
        if carrier is not None:
            carrier.expect(args[1])
        return target, args

    def _tell(self, bundle: int, reports: Sequence[Report | Success]) -> None:
        try:
            self._put((REPORT, (bundle, reports)))
        except Exception as exc:  # what cannot be pickled, as in billiard's own loop
            report = reports[-1]
            if not isinstance(report, Report):
                raise
            self._put((REPORT, (bundle, [unsendable(report, exc)])))

    def _is_to_leave(self) -> bool:
        if self._left is not None:
            with self._counting:
                self._left -= 1
        if self._max_memory and mem_rss() > self._max_memory:
            self._left = 0
        return self.leaves


def unsendable(report: Report, error: Exception) -> Report:
    """What is sent in place of a report that cannot be pickled."""
    try:
        raise MaybeEncodingError(error, report.value)
    except MaybeEncodingError:
        return report._replace(value=ExceptionInfo(), returned=False)


def was_terminated() -> bool:
    """Whether a signal has told this process to end: the job is unfinished then. Not in old billiards."""
    fired = getattr(common, "terminate_handler_fired", None)
    return bool(fired()) if fired else bool(common._should_have_exited[0])


class Worker(asynpool.Worker):
    """billiard's loop of a child, with a page and a runner."""

    page: Page
    runner: Runner
    wait_for_job: Any
    #: Jobs and KiB after which the child ends; billiard's own attributes would count bundles.
    max_jobs: int | None = None
    max_memory = 0

    def after_fork(self) -> None:
        super().after_fork()
        runner = Runner(self.page, self.outq.put, max_jobs=self.max_jobs, max_memory=self.max_memory)
        self.runner = current_process().runner = runner
        signal.signal(signal.SIGUSR1, runner.on_soft_limit)

    def _make_child_methods(self, *args: Any, **options: Any) -> None:
        super()._make_child_methods(*args, **options)
        receive = self.wait_for_job

        def wait_for_job() -> Any:
            if self.runner.leaves:
                sys.exit(EX_RECYCLE)
            return receive()

        self.wait_for_job = wait_for_job
