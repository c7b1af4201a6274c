"""A value that pages share is read less often the longer its read takes."""

from __future__ import annotations

import time

import pytest
from sqlalchemy.exc import OperationalError

from celeriac.console.in_time import InTime
from celeriac.console.shared import Shared
from tests.support import wait_until


def test_what_takes_long_is_read_less_often() -> None:
    reads: list[float] = []

    def read() -> int:
        reads.append(time.monotonic())
        wait_until(lambda: time.monotonic() - reads[-1] > 0.05, within=5, saying="it has taken its time")
        return len(reads)

    shared = Shared(read, every=0.0, share=0.1)
    assert shared.get(wait=5) == 1
    wait_until(lambda: shared.get(wait=5) == 2, within=60, saying="it is read again")
    shared.close()
    assert reads[1] - reads[0] >= 0.05 / 0.1


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


def test_what_fails_for_another_reason_is_not_asked_for_less() -> None:
    def away() -> str:
        raise ConnectionError("the database is away")

    def never() -> str:
        raise AssertionError("it is not asked")

    with pytest.raises(ConnectionError, match="away"):
        InTime(away, never)()
