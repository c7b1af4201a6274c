"""An answer that several may see is made once, and not kept when it is none."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.responses import Response

from celeriac.console.same_answers import SameAnswers
from tests.support import wait_until


def test_who_asks_while_an_answer_is_made_is_given_that_one() -> None:
    same, goes_on, made = SameAnswers(most=2, lasts=3600.0), threading.Event(), []

    def make() -> Response:
        goes_on.wait(60)
        made.append(Response("x"))
        return made[-1]

    with ThreadPoolExecutor(3) as people:
        asked = [people.submit(same.of, "key", make) for _ in range(3)]
        wait_until(lambda: all(each.running() for each in asked), within=60, saying="all have asked")
        goes_on.set()
        answers = {id(each.result(60)) for each in asked}
    assert (len(made), answers) == (1, {id(made[0])})


def test_an_answer_is_given_again_for_a_moment_and_to_the_same_question_alone() -> None:
    same = SameAnswers(most=2, lasts=3600.0)
    first = same.of("key", Response)
    assert same.of("key", Response) is first
    assert same.of("other", Response) is not first
    none = SameAnswers(most=2, lasts=0.0)
    assert none.of("key", Response) is not none.of("key", Response)


def test_the_answer_that_nobody_has_asked_for_the_longest_makes_room() -> None:
    same = SameAnswers(most=2, lasts=3600.0)
    first, second = same.of("first", Response), same.of("second", Response)
    assert same.of("first", Response) is first
    same.of("third", Response)
    assert same.of("first", Response) is first
    assert same.of("second", Response) is not second


def test_an_error_is_not_given_again() -> None:
    same = SameAnswers(most=2, lasts=3600.0)
    assert same.of("key", lambda: Response(status_code=503)).status_code == 503

    def fail() -> Response:
        raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        same.of("key", fail)
    assert same.of("key", Response).status_code == 200
