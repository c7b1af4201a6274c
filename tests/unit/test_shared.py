"""A value that pages share is read less often the longer its read takes."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from celeriac.console.budget import Budget
from celeriac.console.in_time import InTime
from celeriac.console.shared import Shared, SharedValues
from tests.support import wait_until


def test_what_takes_long_is_read_less_often() -> None:
    reads: list[float] = []

    def read() -> int:
        reads.append(time.monotonic())
        wait_until(lambda: time.monotonic() - reads[-1] > 0.05, within=5, saying="it has taken its time")
        return len(reads)

    shared = Shared(read, every=0.0, budget=Budget(0.1))
    assert shared.get(wait=5) == 1
    wait_until(lambda: shared.get(wait=5) == 2, within=60, saying="it is read again")
    shared.close()
    assert reads[1] - reads[0] >= 0.05 / 0.1


def test_one_read_that_took_long_among_others_delays_nothing() -> None:
    reads: list[float] = []

    def read() -> int:
        reads.append(time.monotonic())
        if len(reads) == 3:
            wait_until(lambda: time.monotonic() - reads[-1] > 0.1, within=5, saying="it has taken its time")
        return len(reads)

    shared = Shared(read, every=0.0, budget=Budget(0.001))  # by which it would be read anew after minutes
    wait_until(lambda: shared.get(wait=5) >= 5, within=30, saying="it is read again and again")
    shared.close()
    assert reads[3] - reads[2] < 60


def test_a_value_that_nobody_has_asked_for_lately_is_read_before_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[int] = []

    def read() -> int:
        reads.append(len(reads))
        return len(reads)

    monkeypatch.setattr("celeriac.console.shared._STALE", 0.0)
    monkeypatch.setattr("celeriac.console.shared._QUICK", 60.0)
    shared = Shared(read, every=0.0, budget=Budget(1e9))
    assert [shared.get(wait=60) for _ in range(5)] == [1, 2, 3, 4, 5]
    shared.close()


def test_a_first_value_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.console.shared._QUICK", 60.0)
    goes_on = threading.Event()
    shared = Shared(partial(goes_on.wait, 60), every=0.0, budget=Budget(1e9))
    began = time.monotonic()
    assert shared.peek(wait=2.0)[0] is None
    assert time.monotonic() - began < 4.0, "not another time because it is old"
    goes_on.set()
    shared.close()


def test_a_read_that_takes_long_lets_who_asks_first_wait_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes_on = threading.Event()
    shared = Shared(partial(goes_on.wait, 60), every=0.0, budget=Budget(1e9))
    assert shared.peek(wait=0.05, patient=False)[0] is None
    monkeypatch.setattr(shared, "_began", time.monotonic() - 30.0)
    began = time.monotonic()
    assert shared.peek(wait=30.0, patient=False)[0] is None
    assert time.monotonic() - began < 30.0
    goes_on.set()
    assert shared.peek(wait=60, patient=True)[0] is True, "who has patience waits for it"
    shared.close()


def _of(values: SharedValues, key: str, read: Any) -> Shared[Any]:
    return values.of(key, partial(Shared, read, every=60.0))


def test_the_value_that_nobody_has_asked_for_the_longest_makes_room() -> None:
    values = SharedValues(most=2)
    first, second = (_of(values, key, int) for key in ("first", "second"))
    assert first.get(wait=5) == 0
    assert _of(values, "first", str) is first, "it is asked for again"
    _of(values, "third", int)
    assert _of(values, "first", str) is first
    assert _of(values, "second", int) is not second
    values.close()


def test_a_value_that_made_room_reads_no_more_and_its_last_read_ends_before_the_rest() -> None:
    values, goes_on, reads = SharedValues(most=1), threading.Event(), []

    def read() -> int:
        goes_on.wait(60)
        reads.append(time.monotonic())
        return 1

    old = _of(values, "old", read)
    old.start()
    _of(values, "new", int)
    with pytest.raises(TimeoutError):  # and not after 60 s
        old.get(wait=60)
    closing = threading.Thread(target=values.close)
    closing.start()
    assert reads == []
    goes_on.set()
    closing.join(60)
    assert len(reads) == 1, "the close has waited for the read that was under way"
    old.start()
    assert not old.reading


class _Cancelled(Exception):
    sqlstate = "57014"  # query_canceled


def test_what_takes_too_long_is_asked_for_less() -> None:
    asked: list[str] = []

    def whole() -> str:
        asked.append("whole")
        raise OperationalError("SELECT", {}, _Cancelled())

    def some() -> str:
        asked.append("some")
        return "some"

    read = InTime(whole, some)
    assert [read(), read()] == ["some", "some"]
    assert asked == ["whole", "some", "some"]
    impatient = InTime(whole, some, again=0.0)
    assert [impatient(), impatient()] == ["some", "some"]
    assert asked[3:] == ["whole", "some"] * 2


def test_what_takes_too_long_again_is_left_out_for_twice_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    moment, ends = [1000.0], [True]

    def whole() -> str:
        asked.append(moment[0])
        if ends[0]:
            raise OperationalError("SELECT", {}, _Cancelled())
        return "whole"

    def after(seconds: float) -> str:
        moment[0] += seconds
        return read()

    monkeypatch.setattr("celeriac.console.in_time.time.monotonic", lambda: moment[0])
    read = InTime(whole, lambda: "some", again=10.0)
    assert {after(0), after(9), after(1), after(19), after(1)} == {"some"}
    assert asked == [1000.0, 1010.0, 1030.0]
    moment[0] = asked[-1] + 40
    ends[0] = False
    assert [read(), after(1)] == ["whole"] * 2, "it is asked again as soon as it is quick enough"
    ends[0] = True
    assert [after(1), after(10)] == ["some"] * 2
    assert asked[-2:] == [1072.0, 1082.0], "and what is slow for once is left out for no longer than at first"


def test_a_value_outlives_a_read_that_takes_too_long_and_no_other_failure() -> None:
    ends: list[Exception | None] = [
        None,
        OperationalError("SELECT", {}, _Cancelled()),
        ConnectionError("away"),
    ]
    goes_on = [threading.Event() for _ in ends]
    reads: list[int] = []

    def read() -> int:
        number = len(reads)
        reads.append(number)
        goes_on[min(number, 2)].wait(60)
        if (error := ends[min(number, 2)]) is not None:
            raise error
        return 7

    shared = Shared(read, every=0.0, budget=Budget(1e9))
    goes_on[0].set()
    assert shared.get(wait=60) == 7
    goes_on[1].set()
    wait_until(lambda: shared.get(wait=60) == 7 and len(reads) == 3, within=60, saying="it was ended")
    assert shared.peek(wait=60)[1] > 0, "and the value is as old as it is"
    goes_on[2].set()

    def says_so() -> bool:
        try:
            return shared.get(wait=60) is None
        except ConnectionError:
            return True

    wait_until(says_so, within=60, saying="a database that is away is told of")
    shared.close()


def test_what_fails_for_another_reason_is_not_asked_for_less() -> None:
    def away() -> str:
        raise ConnectionError("the database is away")

    def never() -> str:
        raise AssertionError("it is not asked")

    with pytest.raises(ConnectionError, match="away"):
        InTime(away, never)()
