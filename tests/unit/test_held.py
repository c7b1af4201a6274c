"""Held: the worker's one book of the attempts that it has in its hands."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

from app.worker.held import Held

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def test_a_job_is_entered_once() -> None:
    held = Held()
    assert held.enter(ONE)
    assert not held.enter(ONE)
    assert ONE in held
    assert TWO not in held
    assert len(held) == 1


def test_a_job_that_was_left_may_be_entered_again() -> None:
    held = Held()
    held.enter(ONE)
    held.leave(ONE)
    assert ONE not in held
    assert len(held) == 0
    assert held.enter(ONE)


def test_leaving_what_is_not_there_is_no_error() -> None:
    held = Held()
    held.leave(ONE)
    assert held.jobs() == []


def test_a_claim_without_an_answer_is_in_the_book_and_not_open() -> None:
    held = Held()
    held.enter(ONE)
    assert held.jobs() == [ONE]
    assert held.open() == []
    assert held.unfinished() == 0


def test_an_attempt_that_was_won_is_open_until_its_outcome_is_told() -> None:
    held = Held()
    for job, attempt in ((ONE, 1), (TWO, 4)):
        held.enter(job)
        held.won(job, attempt)
    assert held.open() == [(ONE, 1), (TWO, 4)]
    assert held.unfinished() == 2
    held.started(ONE)
    assert held.open() == [(ONE, 1), (TWO, 4)]
    assert held.unfinished() == 2
    held.ended(ONE)
    assert held.open() == [(TWO, 4)]
    assert held.unfinished() == 1
    assert not held.enter(ONE)  # in the book until the outcome is committed
    held.leave(ONE)
    assert held.jobs() == [TWO]


def test_what_is_said_of_a_job_that_was_left_enters_nothing() -> None:
    held = Held()
    held.started(ONE)
    held.ended(ONE)
    assert len(held) == 0


def test_of_many_threads_one_enters_a_job() -> None:
    held = Held()
    jobs = [UUID(int=number) for number in range(200)]
    barrier = Barrier(4)

    def enter_all() -> set[UUID]:
        barrier.wait(5)
        return {job for job in jobs if held.enter(job)}

    with ThreadPoolExecutor(4) as threads:
        entered = [each.result() for each in [threads.submit(enter_all) for _ in range(4)]]
    assert sum(map(len, entered)) == len(jobs)
    assert set().union(*entered) == set(jobs)
