"""Look at what the children are at: time limits, jobs that turn out to be long, jobs to be stopped.

Each act on a job takes the lock of its child's page first and looks where the child is, so that it never
hits the next job.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

from celeriac.worker.burst.bundle import Bundle, BundledJob, Waiting
from celeriac.worker.burst.children import Children
from celeriac.worker.burst.failures import timed_out
from celeriac.worker.burst.page import OPEN, Page, Place
from celeriac.worker.gate.lean_job import LeanJob

#: Seconds between two looks.
EVERY = 0.05

#: Seconds. The jobs behind one that has run so long are given to other children.
_LATE = 0.05

#: Seconds after a hard limit after which a child is killed although it does not give its lock free.
_STUCK = 1.0


class Watch:
    """In the event loop's thread alone.

    Args:
        bundles: those that were sent, by number.
        give_back: takes jobs that are to go to other children.
    """

    def __init__(
        self,
        children: Children,
        bundles: MutableMapping[int, Bundle],
        *,
        give_back: Callable[[Iterable[Waiting | LeanJob]], None],
    ) -> None:
        self._children = children
        self._bundles = bundles
        self._give_back = give_back

    def look(self) -> None:
        """Look at every child."""
        for process in list(self._children._pool):
            place = process.page.place
            bundle = self._bundles.get(place.bundle) if place.at_work else None
            if bundle is None:
                self._look_ahead(process, place)
                continue
            job = bundle.jobs[place.position]
            if time.monotonic() - place.started >= min(_LATE, job.soft or _LATE, job.hard or _LATE):
                self._look_at(process, bundle, place)

    def recall_all(self) -> None:
        """Take back every job that was not begun, and tell of those that are done."""
        for process in list(self._children._pool):
            with process.page.locked():
                place = process.page.place
                bundle = self._bundles.get(place.bundle)
                if bundle is not None:
                    process.page.draw_stop_line(place.position + (1 if place.at_work else 0))
                self._recall_ahead(process, place)
            if bundle is not None:
                self._known(bundle, process)
                bundle.tell_done()

    def show_running(self) -> None:
        """Tell Celery of the job that each child is at."""
        for process in list(self._children._pool):
            place = process.page.place
            bundle = self._bundles.get(place.bundle) if place.at_work else None
            if bundle is not None:
                self._known(bundle, process)
                bundle.jobs[place.position].accept(process.pid, place.started)

    def recall_ahead(self, process: Any) -> None:
        """Take back what a child has not taken up: it ends when its coroutines have."""
        with process.page.locked() as held:
            waiting = self._recall_ahead(process, process.page.place) if held else []
        self._give_back(waiting)

    def terminate(self, job: BundledJob, pid: int, signum: Any) -> None:
        """Send ``signum`` to the child ``pid`` if it is at ``job``."""
        process = self._children.process_of(pid)
        if process is None or job.bundle is None:
            return
        page: Page = process.page
        with page.locked():
            if _is_at(page.place, job) and not job.ended:
                page.aim(job.bundle.number, job.position)  # the signal may be that of the soft limit
                self._children.terminate_job(pid, signum)

    def stop(self, job: BundledJob) -> None:
        """Stop a job that Celery does not know to be begun: Celery terminates it when it is accepted."""
        bundle = job.bundle
        if bundle is None:
            return
        process = self._process(bundle)
        if process is None:  # it is not sent yet, to any child
            result = bundle.result
            if result in self._children.outbound_buffer:
                self._children.outbound_buffer.remove(result)
            result.discard()
            self._bundles.pop(bundle.number, None)
            self._withdraw(bundle, job)
            return
        page: Page = process.page
        with page.locked():
            place = page.place
            waiting = self._recall_ahead(process, place) if place.bundle < bundle.number else []
            if _is_at(place, job) and not job.ended:
                self._known(bundle, process)
            elif place.bundle == bundle.number and page.mark(job.position) == OPEN:
                page.skip(job.position)
                job.ended = True
            elif not job.ended:  # done; its outcome is on its way, and Celery would stop what it hears of now
                job.accepted = True
        self._give_back(each for each in waiting if each is not job.waiting)
        job.accept(process.pid, time.monotonic())

    # ---- one child

    def _look_at(self, process: Any, bundle: Bundle, seen: Place) -> None:
        page, job = process.page, bundle.jobs[seen.position]
        waiting: list[Waiting | LeanJob] = []
        soft = hard = False
        with page.locked() as held:
            ran = time.monotonic() - seen.started
            if page.place != seen:
                return  # it has gone on
            if held:
                page.draw_stop_line(seen.position + 1)
                waiting = bundle.take_back(behind=seen.position)
                waiting += self._recall_ahead(process, seen)
            hard = bool(job.hard) and not job.ended and ran >= (job.hard or 0) + (0 if held else _STUCK)
            soft = bool(job.soft) and not (hard or job.soft_sent or job.ended) and ran >= (job.soft or 0)
            if hard:
                self._children._timeout_handler._trywaitkill(process)
            elif soft and held:
                job.soft_sent = True
                page.aim(bundle.number, seen.position)
                os.kill(process.pid, signal.SIGUSR1)
        self._children.busy.slow.add(process.inqW_fd)
        self._known(bundle, process)
        bundle.tell_done()
        job.accept(process.pid, seen.started)
        if hard:
            job.end(timed_out(job.hard), returned=False)
            job.time_out(soft=False)
        elif soft and job.soft_sent:
            job.time_out(soft=True)
        self._give_back(waiting)

    def _look_ahead(self, process: Any, place: Place) -> None:
        """Take back what waits behind a job of which the page says nothing."""
        if process.inqW_fd not in self._children.busy.slow or not self._ahead(process, place):
            return
        with process.page.locked() as held:
            waiting = self._recall_ahead(process, place) if held and process.page.place == place else []
        self._give_back(waiting)

    def _recall_ahead(self, process: Any, place: Place) -> list[Waiting | LeanJob]:
        """Take back the bundles that the child would run next. Behind the lock of its page."""
        waiting: list[Waiting | LeanJob] = []
        for bundle in self._ahead(process, place):
            process.page.recall(bundle.number)
            bundle.recalled = True
            waiting += bundle.take_back()
        return waiting

    def _ahead(self, process: Any, place: Place) -> list[Bundle]:
        """The bundles that were sent to a child and that it has not taken up, in their order.

        One with a smaller number than that at which it is was done, and the word of it is on its way.
        """
        mine = [one for one in self._bundles.values() if _is_for(one, process) and not one.recalled]
        return sorted((one for one in mine if one.number > place.bundle), key=lambda one: one.number)

    def _withdraw(self, bundle: Bundle, job: BundledJob) -> None:
        """Of a bundle that no child takes up, have ``job`` terminated and the others given back."""
        waiting = job.waiting
        self._give_back(each for each in bundle.take_back() if each is not waiting)
        job.accept(os.getpid(), time.monotonic())

    def _process(self, bundle: Bundle) -> Any:
        return next((one for one in self._children._pool if _is_for(bundle, one)), None)

    @staticmethod
    def _known(bundle: Bundle, process: Any) -> None:
        """billiard's word that the child has taken the bundle up may come later than this look."""
        bundle.pid, bundle.page = process.pid, process.page


def _is_at(place: Place, job: BundledJob) -> bool:
    bundle = job.bundle
    return (
        bundle is not None
        and place.at_work
        and (place.bundle, place.position)
        == (
            bundle.number,
            job.position,
        )
    )


def _is_for(bundle: Bundle, process: Any) -> bool:
    """Whether a bundle was sent to a child, or is being sent."""
    result = bundle.result
    return process in (result._write_to, result._scheduled_for) or bundle.pid == process.pid
