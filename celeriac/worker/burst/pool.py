"""``-P burst``, the default pool: prefork's children, which are given short jobs in bundles."""

from __future__ import annotations

import logging
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import count, islice
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.app import trace
from celery.concurrency import prefork
from kombu.serialization import pickle

from celeriac.application import Celeriac
from celeriac.errors import BadArgument
from celeriac.events import Event
from celeriac.task import failures
from celeriac.worker.burst import child, composition
from celeriac.worker.burst.bundle import Bundle, BundledJob, Waiting
from celeriac.worker.burst.children import Children
from celeriac.worker.burst.composition import LONG, Paces
from celeriac.worker.burst.coroutines import Coroutines, finish, how_many_each
from celeriac.worker.burst.failures import lost
from celeriac.worker.burst.lean_entry import LeanEntry, LeanOwner
from celeriac.worker.burst.page import MOST
from celeriac.worker.burst.watch import EVERY, Watch
from celeriac.worker.gate.lean_job import LeanJob

logger = logging.getLogger(__name__)

#: Seconds for which the event loop keeps the interpreter while the ledger thread wants it. The usual 5 ms, at
#: each answer of the database, are as long as a bundle takes.
_SWITCH = 0.0005

#: So many children in a row that die between two jobs, and jobs travel alone.
_DEATHS = 3


class TaskPool(prefork.TaskPool):
    """Jobs wait here, in order, until a child has room; then as many as fit go there in one message."""

    Pool = Children
    uses_semaphore = False
    alias = "burst"

    def __init__(self, *args: Any, app: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, app=app, **kwargs)
        if not isinstance(app, Celeriac):
            raise BadArgument("pool", "the burst pool is for apps that were made with celeriac.Celeriac")
        self._tasks = app.tasks  # each look at the app's takes a lock
        self._waiting: deque[Waiting | LeanJob] = deque()
        self._bundles: dict[int, Bundle] = {}
        self._numbers = count(1)
        self._paces = Paces()
        self._entering: list[BundledJob] | None = None  # the bundle that is being made
        self._told_of: LeanEntry | None = None  # which has been sent, and for which Celery's request is made
        self._done: list[tuple[LeanJob, float]] = []  # of the lean lane, and not passed on yet
        self.lean: LeanOwner | None = None
        self._feed_is_due = False
        self._stopping = False
        self._deaths_between = 0  # in a row, of children that were at no job
        self._hub: Any = None
        self._timer: Any = None
        self._watch: Watch | None = None

    # ---- life

    def on_start(self) -> None:
        # Limits are kept job by job; billiard's own would hit whatever job of the bundle runs by then.
        self._soft, self._hard = self.options.pop("soft_timeout", None), self.options.pop("timeout", None)
        each = self.options["coroutines"] = how_many_each(self.app)
        super().on_start()
        sys.setswitchinterval(_SWITCH)
        children = self._pool
        children.on_report, children.on_bundle_back = self._on_report, self._on_bundle_back
        self._watch = watch = Watch(children, self._bundles, give_back=self._give_back)
        self._coroutines = Coroutines(  # beside what the children are at
            children, each, self._tasks, self._common, record=self._pass_on, recall=watch.recall_ahead
        )
        self.runs_beside, self.places_beside = self._coroutines.runs, self._coroutines.places
        del self.terminate_job  # prefork's goes by the process alone
        children._result_handler.check_timeouts = self._look_without_loop

    def register_with_event_loop(self, loop: Any) -> None:
        self._hub = loop
        super().register_with_event_loop(loop)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_repeatedly(EVERY, self._tick)
        self._coroutines.watch(loop)
        if self.lean is not None:
            self.lean.watch(loop)

    def stop_line(self) -> None:
        """Begin no job any more: nothing is sent to children, and they leave what they have not begun."""
        self._stopping = True
        if self._watch is not None and self._pool is not None:
            self._coroutines.stop_all()
            self._watch.recall_all()
            self._pass_on()

    def hold(self) -> None:
        """Draw the stop line, and have Celery know of every job that is at work, however short it has run.

        Called by the handler of a signal: whatever the event loop does at this moment goes on afterwards.
        """
        self.stop_line()
        if self._watch is not None:
            self._watch.show_running()
            self._coroutines.show_running()

    def on_stop(self) -> None:
        if self._pool is not None:
            finish(self._coroutines, self._pool, self._look_without_loop)
        super().on_stop()

    def on_terminate(self) -> None:
        self.stop_line()  # what is done counts, although its children had no time to tell
        self._coroutines.hear_all()
        super().on_terminate()

    def _look_without_loop(self) -> None:
        """Called while the pool is joined: there is no event loop then, and limits must go on."""
        self._pool.check_timeouts()
        self._look()

    def _look(self) -> None:
        if self._watch is not None:
            self._watch.look()
            self._coroutines.look()
            self._pass_on()

    def _tick(self) -> None:
        if not self._stopping:
            self._look()
            self.feed()
        if self.lean is not None:
            self.lean.look()

    # ---- jobs in

    def line_up(self, request: Any, execute: Callable[[Any], None]) -> None:
        """Let ``request`` wait for a child.

        Args:
            execute: calls the request's ``execute_using_pool``, when it is its turn.
        """
        self._line_up(Waiting(request.task.name, lambda: execute(request), request))

    def line_up_lean(self, job: LeanJob) -> None:
        """As ``line_up``, for a job of the lean lane."""
        self._line_up(job)

    def _line_up(self, job: Waiting | LeanJob) -> None:
        beside = self._coroutines.runs(job.task)
        (self._coroutines.line_up if beside else self._waiting.append)(job)
        self._feed_soon()

    def _feed_soon(self) -> None:
        if not self._feed_is_due:  # after the others that come with it
            self._feed_is_due = True
            self._hub.call_soon(self.feed) if self._hub is not None else self.feed()

    def apply_async(self, target: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Enter an attempt into the bundle that is being made. Anything else is prefork's affair."""
        if (entry := self._told_of) is not None:
            for name in ("accept_callback", "timeout_callback", "callback", "error_callback"):
                setattr(entry, name, options.get(name))
            return entry
        if self._entering is None or target not in (trace.fast_trace_task, trace.trace_task_ret):
            return super().apply_async(target, args, kwargs, **self._slowly(options))
        job = BundledJob(
            task=str(args[0]),
            call=pickle.dumps((target, args), protocol=pickle.HIGHEST_PROTOCOL),
            soft=options.get("soft_timeout") or self._soft,
            hard=options.get("timeout") or self._hard,
            accept_callback=options.get("accept_callback"),
            timeout_callback=options.get("timeout_callback"),
            callback=options.get("callback"),
            error_callback=options.get("error_callback"),
            stop=self._stop,
        )
        self._entering.append(job)
        return job

    def _slowly(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """``options`` of a job about which the page says nothing, so that nothing is to wait behind it."""
        tell = options.get("accept_callback")

        def accepted(pid: int, started: float) -> None:
            self._is_slow(pid)
            if tell is not None:
                tell(pid, started)

        limits = {"soft_timeout": self._soft, "timeout": self._hard}
        given = {key: value for key, value in options.items() if value is not None}
        return {**limits, **given, "accept_callback": accepted}

    def _is_slow(self, pid: int) -> Any:
        """Let nothing wait in this child; return its process."""
        if (process := self._pool.process_of(pid)) is not None:
            self._pool.busy.slow.add(process.inqW_fd)
        return process

    # ---- bundles out

    def feed(self) -> None:
        """Give the children what they have room for."""
        self._feed_is_due = False
        if not self._stopping and self._pool is not None:
            self._coroutines.feed(self._entered)
        while self._waiting and self._pool is not None and not self._stopping and self._has_room():
            entering = self._entering = []
            try:
                for _ in range(self._size()):
                    self._enter(self._waiting.popleft(), entering)
            finally:
                self._entering = None
                if entering:
                    self._send(entering)

    def _entered(self, waiting: Waiting | LeanJob) -> list[BundledJob]:
        """What becomes of a job that travels without a bundle; empty when it is revoked or refused."""
        entering = self._entering = []
        try:
            self._enter(waiting, entering)
        finally:
            self._entering = None
        return entering

    def _enter(self, waiting: Waiting | LeanJob, entering: list[BundledJob]) -> None:
        before = len(entering)
        if isinstance(waiting, Waiting):
            waiting.enter()
        elif waiting.request is None:
            entering.append(self._lean_entry(waiting))
            return
        elif self.lean is not None:
            self.lean.execute(waiting.request)
        for job in entering[before:]:
            job.waiting = waiting

    # ---- the lean lane

    def _lean_entry(self, job: LeanJob) -> BundledJob:
        task, (hard, soft) = self._tasks[job.task], job.limits
        limits = hard or task.time_limit or self._hard, soft or task.soft_time_limit or self._soft
        made = LeanEntry.of(job, limits, stop=self._stop, tell=self._tell_celery, complete=self._complete)
        job.entry = made
        return made

    def _tell_celery(self, entry: LeanEntry) -> None:
        """Have Celery's request made for a job that was sent to a child, and enter its callbacks there."""
        job = entry.waiting
        assert self.lean is not None
        assert isinstance(job, LeanJob)
        request = self.lean.request_for(job)
        if request is None:
            entry.ended = True
            return
        self._told_of = entry
        try:
            self.lean.execute(request)
        finally:
            self._told_of = None

    def show(self, job: LeanJob) -> None:
        """Have Celery's request made for a job that waits here or that was sent to a child."""
        entry: LeanEntry | None = job.entry
        if entry is not None and not entry.ended:
            entry.tell_celery()
        elif self.lean is not None:
            self.lean.request_for(job)

    def _complete(self, job: LeanJob, seconds: float) -> None:
        self._done.append((job, seconds))

    def _pass_on(self) -> None:
        """Report the jobs of the lean lane that were completed, all at once."""
        if self._done and self.lean is not None:
            done, self._done = self._done, []
            self.lean.completed(done)

    def _has_room(self) -> bool:
        pace = self._paces.of(self._waiting[0].task)
        ahead = pace is not None and pace < LONG
        return bool(self._pool.busy.room(len(self._pool.outbound_buffer), ahead=ahead))

    def _size(self) -> int:
        if self._deaths_between >= _DEATHS:
            return 1
        head = islice(self._waiting, MOST)
        share = math.ceil(len(self._waiting) / max(1, self.num_processes))
        return composition.size((self._paces.of(one.task) for one in head), share=share)

    def _send(self, jobs: list[BundledJob]) -> None:
        bundle = Bundle(next(self._numbers), jobs)
        self._bundles[bundle.number] = bundle
        watched = self.lean is not None and self.lean.is_watched
        is_long = any((self._paces.of(job.task) or 0.0) >= LONG for job in jobs)

        def accepted(pid: int, _: float) -> None:
            process = self._is_slow(pid) if is_long else self._pool.process_of(pid)
            bundle.pid, bundle.page = pid, process.page if process is not None else None

        def ended(reports: list[child.Report | child.Success]) -> None:
            self._on_report(bundle.number, reports)
            self._end(bundle)

        def failed(error: Any) -> None:
            at_a_job = bundle.lost(error) or bundle.pid in self._coroutines.died_with
            self._note_death(at_a_job=at_a_job, error=error)
            self._end(bundle)

        bundle.result = self._pool.apply_async(
            child.run,
            (bundle.number, [job.call for job in jobs], watched, self._common(jobs)),
            callback=ended,
            error_callback=failed,
            accept_callback=accepted,
        )
        if bundle.result is None:  # the pool is closed: the ledger thread releases its jobs
            del self._bundles[bundle.number]

    def _common(self, jobs: list[BundledJob]) -> child.Lean | None:
        if self.lean is None or not any(isinstance(job, LeanEntry) for job in jobs):
            return None
        tracer = trace.fast_trace_task if self.app.use_fast_trace_task else trace.trace_task_ret
        return child.Lean(tracer, self.lean.hostname, self.lean.worker)

    # ---- outcomes

    def _on_report(self, number: int, reports: list[child.Report | child.Success]) -> None:
        if (bundle := self._bundles.get(number)) is not None:
            bundle.tell(reports, self._paces.record)
        self._pass_on()

    def _end(self, bundle: Bundle) -> None:
        """A bundle has come back, or its child has died."""
        self._bundles.pop(bundle.number, None)
        self._pass_on()
        self._give_back(bundle.take_back())
        self.feed()
        if self.lean is not None:
            self.lean.look()

    def _note_death(self, *, at_a_job: bool, error: Any) -> None:
        """A child that dies between two jobs does so because of one that has ended; nobody knows of which."""
        if at_a_job or not isinstance(failures.unwrapped(error.exception), WorkerLostError):
            self._deaths_between = 0
            return
        self._deaths_between += 1
        if self._deaths_between == _DEATHS:
            logger.error(Event.NO_BUNDLES, {"deaths": _DEATHS})

    def _on_bundle_back(self, result: Any) -> bool:
        """billiard would send the bundle of a dead child to another one; its jobs go into new bundles."""
        bundle = next((one for one in self._bundles.values() if one.result is result), None)
        if bundle is None:
            return False
        result.discard()
        process = self._pool.taker_of(bundle.number)
        if process is not None:  # begun, and its word of it was lost
            bundle.pid, bundle.page = process.pid, process.page
            bundle.lost(lost(process.exitcode))
        self._end(bundle)
        return True

    def _give_back(self, jobs: Iterable[Waiting | LeanJob]) -> None:
        if not self._stopping:  # otherwise the ledger thread releases them
            self._waiting.extendleft(reversed(list(jobs)))

    # ---- acts on a job

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """As prefork's, but only while the child is at the job for whose sake ``pid`` was told."""
        job = getattr(pid, "job", None)
        if job is None or self._watch is None:
            self._pool.terminate_job(pid, signal)
        elif not self._coroutines.cancel(job, signal):
            self._watch.terminate(job, int(pid), signal)

    def _stop(self, job: BundledJob) -> None:
        if not self._coroutines.stop(job) and self._watch is not None:
            self._watch.stop(job)

    # ---- facts

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()
        return info | {"timeouts": (self._soft or 0, self._hard or 0)}
