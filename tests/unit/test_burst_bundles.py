"""The burst pool without a worker: what a bundle is made of, and what a child does with one."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from kombu.serialization import pickle

from celeriac.task import failures
from celeriac.task.results.carried import CarriedResult
from celeriac.worker.burst.bundle import Bundle, BundledJob, Waiting, tells_of_jobs
from celeriac.worker.burst.child import REPORT, Report, Runner
from celeriac.worker.burst.children import BusyChildren, Children
from celeriac.worker.burst.composition import MOST, Paces, size
from celeriac.worker.burst.page import DONE, OPEN, ROOM, SKIPPED, TOLD, Page

# ---- composition


@pytest.mark.parametrize(
    ("paces", "share", "together"),
    [
        ([], MOST, 0),
        ([None], MOST, 1),
        ([None, 0.001], MOST, 1),
        ([0.001, None], MOST, 1),
        ([0.001] * 100, MOST, 8),
        ([0.00001] * 100, MOST, 64),
        ([0.00001] * 100, 5, 5),
        ([0.1, 0.00001], MOST, 1),
        ([0.00001, 0.1], MOST, 1),
        ([0.003, 0.004, 0.002], MOST, 2),
        ([0.001] * 4, 0, 1),
    ],
)
def test_a_bundle_holds_eight_milliseconds_of_known_pace(
    paces: list[float | None], share: int, together: int
) -> None:
    assert size(paces, share=share) == together


def test_a_pace_follows_what_was_measured() -> None:
    paces = Paces()
    assert paces.of("a") is None
    paces.record("a", 1.0)
    paces.record("a", 0.0)
    assert paces.of("a") == pytest.approx(0.9)
    assert paces.of("b") is None


def test_no_second_bundle_goes_to_a_child_while_another_has_none() -> None:
    busy = BusyChildren(lambda: {7, 8})
    assert busy.room(0, ahead=False)
    busy.add(7)
    assert 7 in busy
    assert 8 not in busy
    busy.add(8)
    assert (7 in busy, 8 in busy, len(busy)) == (False, False, 0)
    assert not busy.room(0, ahead=False)
    assert busy.room(1, ahead=True)
    assert not busy.room(2, ahead=True)
    busy.add(7)
    assert (7 in busy, 8 in busy) == (True, False)
    busy.slow.add(8)
    assert 8 in busy
    assert not busy.room(0, ahead=True)
    busy.ended(8)
    assert (7 in busy, 8 in busy) == (True, False)
    busy.discard(7)
    assert 7 not in busy


# ---- a child


class Child:
    """A runner in this process. Its jobs are methods of this class, and may look at the page."""

    here: Child

    def __init__(self, *, max_jobs: int | None = None) -> None:
        Child.here = self
        self.page = Page()
        self.told: list[Any] = []
        self.begun: list[int] = []
        self.runner = Runner(self.page, self.told.append, max_jobs=max_jobs, max_memory=0)

    def run(self, *jobs: Callable[..., Any], bundle: int = 1, watched: bool = False) -> list[Any]:
        calls = [pickle.dumps((_call, (job.__name__, number))) for number, job in enumerate(jobs)]
        return self.runner.run(bundle, calls, watched)

    def early(self) -> list[int]:
        """The positions of the jobs of which it told more than that they went well."""
        told = [one for kind, (_, reports) in self.told for one in reports if kind == REPORT]
        return [one.position for one in told if isinstance(one, Report)]

    def marks(self, count: int) -> list[int]:
        return [self.page.mark(position) for position in range(count)]


def _call(name: str, number: int) -> Any:
    Child.here.begun.append(number)
    return globals()[name](number)


def good(number: int) -> Any:
    return 0, "text", 0.25


def bad(number: int) -> Any:
    return 1, "what Celery's tracer says of a failure", 0.25


def raises(number: int) -> Any:
    raise LookupError("on purpose")


def exits(number: int) -> Any:
    raise SystemExit(3)


def cuts(number: int) -> Any:
    """The main process draws the stop line while it runs."""
    with Child.here.page.locked():
        Child.here.page.draw_stop_line(number + 1)
    return good(number)


def skips_the_next(number: int) -> Any:
    with Child.here.page.locked():
        Child.here.page.skip(number + 1)
    return good(number)


def signalled(number: int) -> Any:
    """The main process sends the signal of the soft limit for it."""
    with Child.here.page.locked():
        Child.here.page.aim(1, number)
    return _signal()


def signalled_for_another(number: int) -> Any:
    with Child.here.page.locked():
        Child.here.page.aim(1, number - 1)
    return _signal()


def _signal() -> Any:
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(0)
    return good(0)


def tells_nothing_that_can_be_pickled(number: int) -> Any:
    return 1, lambda: None, 0.25


def test_successes_are_told_together_and_failures_before_the_next_job() -> None:
    child = Child()
    kept = child.run(good, bad, good, raises, good)
    assert child.early() == [1, 3]
    assert [position for position, *_ in kept] == [0, 2, 4]
    assert [one.returned for _, (_, (one,)) in child.told] == [True, False]
    assert child.marks(5) == [DONE, TOLD, DONE, TOLD, DONE]


def test_while_events_are_watched_each_job_is_told_with_its_text() -> None:
    child = Child()
    kept = child.run(good, bad, good, watched=True)
    assert [(each.position, each.value) for each in kept] == [(0, (0, "text", 0.25)), (2, (0, "text", 0.25))]
    assert child.early() == [1]


def test_the_stop_line_holds_from_the_moment_it_is_drawn() -> None:
    child = Child()
    kept = child.run(good, cuts, good, good)
    assert child.begun == [0, 1]
    assert [position for position, *_ in kept] == [0, 1]
    assert child.marks(4) == [DONE, DONE, OPEN, OPEN]


def test_a_job_that_is_to_be_skipped_is_not_begun() -> None:
    child = Child()
    child.run(skips_the_next, good, good)
    assert child.begun == [0, 2]
    assert child.marks(3) == [DONE, SKIPPED, DONE]


def test_a_recalled_bundle_is_not_taken_up_and_the_next_one_is() -> None:
    child = Child()
    with child.page.locked():
        child.page.recall(5)
    assert child.run(good, bundle=5) == []
    assert child.begun == []
    assert len(child.run(good, bundle=6)) == 1


def test_a_child_leaves_after_so_many_jobs_and_begins_no_other() -> None:
    child = Child(max_jobs=2)
    assert len(child.run(good, good, good)) == 2
    assert child.runner.leaves
    assert child.page.stop == 2


def test_a_job_that_exits_is_told_and_ends_its_child() -> None:
    child = Child()
    with pytest.raises(SystemExit):
        child.run(good, exits, good)
    assert child.begun == [0, 1]
    assert child.early() == [1]
    assert child.marks(3) == [DONE, TOLD, OPEN]
    assert not child.page.place.at_work


def test_what_cannot_be_pickled_is_told_as_an_error() -> None:
    child = Child()
    child.runner._put = lambda message: child.told.append(pickle.loads(pickle.dumps(message)))
    child.run(tells_nothing_that_can_be_pickled, good)
    assert child.early() == [0]
    assert "MaybeEncodingError" in repr(child.told[0][1][1][0].value)


@pytest.fixture
def soft_limits() -> Any:
    before = signal.signal(signal.SIGUSR1, lambda *_: Child.here.runner.on_soft_limit())
    yield
    signal.signal(signal.SIGUSR1, before)


def test_the_signal_of_a_soft_limit_hits_its_own_job_only(soft_limits: None) -> None:
    child = Child()
    kept = child.run(good, signalled_for_another, signalled, good)
    assert [position for position, *_ in kept] == [0, 1, 3]
    (report,) = child.told[0][1][1]
    assert report.position == 2
    assert isinstance(failures.unwrapped(report.value.exception), SoftTimeLimitExceeded)


# ---- a bundle, seen from the main process


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (None, False),
        (SimpleNamespace(enabled=False, groups=None), False),
        (SimpleNamespace(enabled=True, groups={"worker"}), False),  # of any worker with a heartbeat
        (SimpleNamespace(enabled=True, groups={"worker", "task"}), True),
        (SimpleNamespace(enabled=True, groups=set()), True),
    ],
)
def test_jobs_are_told_at_once_only_while_events_of_jobs_are_sent(events: Any, told: bool) -> None:
    assert tells_of_jobs(events) is told


class Told:
    """A bundle whose jobs note what Celery is told of them."""

    def __init__(self, count: int, *, number: int = 1) -> None:
        self.words: list[tuple[int, str]] = []
        self.page = Page()
        self.bundle = Bundle(number, [self._job(position) for position in range(count)])
        self.bundle.pid, self.bundle.page = 77, self.page

    def _job(self, position: int) -> BundledJob:
        def say(word: str) -> Callable[..., None]:
            return lambda *_, **__: self.words.append((position, word))

        return BundledJob(
            task="tests.noop",
            call=b"",
            soft=None,
            hard=None,
            accept_callback=say("begun"),
            timeout_callback=say("limit"),
            callback=say("success"),
            error_callback=say("error"),
            stop=lambda _: None,
            waiting=Waiting("tests.noop", lambda: None, SimpleNamespace(ran=None)),
        )

    def of(self, position: int) -> list[str]:
        return [word for found, word in self.words if found == position]


@pytest.mark.parametrize("position", range(4))
def test_a_death_costs_the_job_at_the_position_and_nothing_beside_it(position: int) -> None:
    told = Told(4)
    told.page.take_up(1, 4)
    for before in range(position):
        told.page.begin(before)
        told.page.end(before)
    told.page.begin(position)

    assert told.bundle.lost("the child is gone")
    back = told.bundle.take_back()
    for before in range(position):
        assert told.of(before) == ["begun", "success"]
    assert told.of(position) == ["begun", "error"]
    assert back == [job.waiting for job in told.bundle.jobs[position + 1 :]]


@pytest.mark.parametrize("done", range(4))
def test_a_death_between_two_jobs_is_nobodys(done: int) -> None:
    told = Told(3)
    told.page.take_up(1, 3)
    for before in range(min(done, 3)):
        told.page.begin(before)
        told.page.end(before)

    assert not told.bundle.lost("the child is gone")
    assert len(told.bundle.take_back()) == 3 - done
    assert [word for _, word in told.words] == ["begun", "success"] * done


def test_a_bundle_that_was_not_taken_up_costs_nothing() -> None:
    told = Told(3, number=9)
    told.page.take_up(8, 3)
    told.page.begin(0)

    assert not told.bundle.lost("the child is gone")
    assert len(told.bundle.take_back()) == 3
    assert told.words == []


def test_jobs_of_a_bundle_that_was_done_and_whose_outcomes_are_gone_do_not_run_again_uncounted() -> None:
    told = Told(2, number=8)
    told.page.take_up(8, 2)
    told.page.take_up(9, 3)

    told.bundle.lost("the child is gone")
    assert told.bundle.take_back() == []
    assert told.words == [(0, "error"), (1, "error")]


def test_a_recall_holds_for_all_bundles_up_to_its_number() -> None:
    page = Page()
    with page.locked():
        page.recall(3)
        page.recall(4)
    assert [page.take_up(number, 1) for number in (3, 4, 5)] == [False, False, True]


def test_what_the_child_has_told_is_no_success_until_it_is_heard() -> None:
    """The watch may look at the page before the main process has read the pipe."""
    told = Told(2)
    told.page.take_up(1, 2)
    told.page.begin(0)
    told.page.end(0, told=True)
    told.page.begin(1)
    told.bundle.tell_done()
    assert told.words == []
    told.bundle.tell([Report(0, "a failure", False, 1.0, 0.1)], lambda *_: None)
    told.bundle.tell_done()
    assert told.words == [(0, "begun"), (0, "error")]


def test_an_outcome_that_was_told_and_never_heard_is_lost() -> None:
    told = Told(2)
    told.page.take_up(1, 2)
    told.page.begin(0)
    told.page.end(0, told=True)
    assert not told.bundle.lost("the child is gone")
    assert told.words == [(0, "error")]
    assert told.bundle.take_back() == [told.bundle.jobs[1].waiting]


def test_an_outcome_is_told_once() -> None:
    told = Told(2)
    told.page.take_up(1, 2)
    told.page.begin(0)
    told.page.end(0)
    told.bundle.tell_done()
    told.bundle.tell([Report(0, (0, None, 0.1), True, 1.0, 0.1)], lambda *_: None)
    assert told.words == [(0, "begun"), (0, "success")]
    assert len(told.bundle.take_back()) == 1


def test_a_bundle_was_begun_by_the_child_whose_page_says_so_dead_or_alive() -> None:
    """And not by the one that has the pipe of its number by now."""
    dead, alive = (SimpleNamespace(page=Page()) for _ in range(2))
    dead.page.take_up(7, 1)
    alive.page.take_up(8, 1)
    children = Children.__new__(Children)
    children._made = deque([dead, alive])
    assert children.taker_of(7) is dead
    assert children.taker_of(8) is alive
    assert children.taker_of(9) is None


# ---- results


def test_a_page_keeps_results_until_the_next_bundle() -> None:
    page = Page()
    assert page.take_up(1, 3)
    kept = [CarriedResult.of(value, '{"status": "SUCCESS"}') for value in ("1", '"ü"', "[2, 3]")]
    assert all(page.keep(position, each) for position, each in enumerate(kept))
    assert [page.result(position) for position in range(4)] == [*kept, None]
    assert [each.value for each in kept] == ["1", '"ü"', "[2, 3]"]
    assert page.take_up(2, 3)
    assert [page.result(position) for position in range(3)] == [None] * 3


def test_a_page_keeps_no_more_than_there_is_room_for() -> None:
    page, large = Page(), CarriedResult.of('"' + "x" * (ROOM // 2) + '"', "{}")
    assert page.take_up(1, 3)
    assert page.keep(0, large)
    assert not page.keep(1, large)
    assert page.keep(2, small := CarriedResult.of("1", "{}"))
    assert [page.result(position) for position in range(3)] == [large, None, small]


def test_what_a_child_has_done_is_told_with_its_results_when_it_has_died() -> None:
    told, result = Told(2), CarriedResult.of("7", "{}")
    assert told.page.take_up(1, 2)
    assert told.page.begin(0)
    assert told.page.keep(0, result)
    told.page.end(0)
    told.bundle.tell_done()
    assert (told.of(0), told.of(1)) == (["begun", "success"], [])
    waiting = told.bundle.jobs[0].waiting
    assert waiting is not None
    assert waiting.request.carried == result
