"""The claim book: which attempts this worker holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

from celeriac.worker.gate.claim_book import ClaimBook

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def test_a_job_is_entered_once() -> None:
    book = ClaimBook()
    assert book.enter(ONE)
    assert not book.enter(ONE)
    assert ONE in book
    assert TWO not in book
    assert len(book) == 1


def test_a_job_that_was_left_may_be_entered_again() -> None:
    book = ClaimBook()
    book.enter(ONE)
    book.leave(ONE)
    assert ONE not in book
    assert len(book) == 0
    assert book.enter(ONE)


def test_leaving_what_is_not_there_is_no_error() -> None:
    book = ClaimBook()
    book.leave(ONE)
    assert book.jobs() == []


def test_a_claim_without_an_answer_is_in_the_book_and_not_open() -> None:
    book = ClaimBook()
    book.enter(ONE)
    assert book.jobs() == [ONE]
    assert book.open() == []
    assert book.unfinished() == 0


def test_an_attempt_that_was_won_is_open_until_its_outcome_is_told() -> None:
    book = ClaimBook()
    for job, attempt in ((ONE, 1), (TWO, 4)):
        book.enter(job)
        book.won(job, attempt)
    assert book.open() == [(ONE, 1), (TWO, 4)]
    assert book.unfinished() == 2
    book.started(ONE)
    assert book.open() == [(ONE, 1), (TWO, 4)]
    assert book.unfinished() == 2
    book.ended(ONE)
    assert book.open() == [(TWO, 4)]
    assert book.unfinished() == 1
    assert not book.enter(ONE)  # in the book until the outcome is committed
    book.leave(ONE)
    assert book.jobs() == [TWO]


def test_a_job_that_waits_for_its_rate_limit_waits_for_no_child() -> None:
    book = ClaimBook()
    for job in (ONE, TWO):
        book.enter(job)
        book.won(job, 1)
    book.set_rate_limited(ONE, True)
    assert (book.unfinished(), book.rate_limited()) == (1, 1)
    assert book.open() == [(ONE, 1), (TWO, 1)]
    book.set_rate_limited(ONE, False)
    assert (book.unfinished(), book.rate_limited()) == (2, 0)
    book.set_rate_limited(TWO, True)
    book.ended(TWO)
    assert (book.unfinished(), book.rate_limited()) == (1, 0)


def test_what_is_said_of_a_job_that_was_left_enters_nothing() -> None:
    book = ClaimBook()
    book.started(ONE)
    book.set_rate_limited(ONE, True)
    book.ended(ONE)
    assert len(book) == 0


def test_of_many_threads_one_enters_a_job() -> None:
    book = ClaimBook()
    jobs = [UUID(int=number) for number in range(200)]
    barrier = Barrier(4)

    def enter_all() -> set[UUID]:
        barrier.wait(60)
        return {job for job in jobs if book.enter(job)}

    with ThreadPoolExecutor(4) as threads:
        entered = [each.result() for each in [threads.submit(enter_all) for _ in range(4)]]
    assert sum(map(len, entered)) == len(jobs)
    assert set().union(*entered) == set(jobs)
