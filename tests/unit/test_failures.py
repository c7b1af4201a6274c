"""Failures: whatever a task raises, its outcome is kept, in texts that both databases take."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, NoReturn
from uuid import UUID

import pytest
from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.exceptions import Reject
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.errors import UnreadableError
from celeriac.ledger.schema.lifecycle import AttemptKind
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.outcomes import Failure
from celeriac.task.failures import (
    TEXT_LIMIT,
    TRACEBACK_LIMIT,
    clean,
    failure_of,
    frame_of,
    kind_of,
    portable,
    presentable,
    type_name,
    unwrapped,
)
from celeriac.task.retry_and_replace import JobRetry

HUGE = 10_000_000  # characters


class Unprintable(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("has no text, on purpose")

    __repr__ = __str__


class Exiting(Exception):
    def __str__(self) -> NoReturn:
        raise SystemExit(3)

    __repr__ = __str__


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


class NoText(Exception):
    def __str__(self) -> Any:
        return 7


class Unpicklable(Exception):
    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot be pickled, on purpose")


class TwoArguments(Exception):
    """Pickles, and cannot be unpickled."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one)


class Homeless(Exception):
    __module__ = None  # type: ignore[assignment]


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


NASTY: dict[str, Callable[[], Exception]] = {
    "__str__ raises": Unprintable,
    "__str__ recurses": Endless,
    "__str__ returns a number": NoText,
    "NUL": lambda: ValueError("nul \x00 end"),
    "lone surrogates": lambda: ValueError("\ud800 and \udfff"),
    "10 MB": lambda: ValueError("x" * HUGE),
    "10 MB of NUL": lambda: ValueError("\x00" * HUGE),
    "no text": ValueError,
    "many arguments": lambda: ValueError(*range(100_000)),
    "unpicklable": lambda: Unpicklable("holds a file"),
    "cannot be unpickled": lambda: TwoArguments("a", "b"),
    "no module": lambda: Homeless("x"),
    "nasty cause": lambda: caused(ValueError("outer"), Unprintable()),
    "group": lambda: ExceptionGroup("several \x00", [ValueError("\ud800"), Unprintable()]),
    "a bound local": lambda: KeyError(lambda: None),
}
nasty = pytest.mark.parametrize("make", NASTY.values(), ids=NASTY)


def raised(error: BaseException) -> BaseException:
    """``error`` with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def storable(text: str | None) -> bool:
    """Whether PostgreSQL and SQLite keep the text as it is."""
    return text is None or ("\x00" not in text and text.encode("utf-8").decode("utf-8") == text)


@nasty
def test_no_exception_loses_the_outcome(make: Callable[[], Exception]) -> None:
    failure = failure_of(raised(make()))
    assert failure.kind is AttemptKind.ERROR
    for text, limit in (
        (failure.exception_type, 255),
        (failure.exception, TEXT_LIMIT),
        (failure.frame, 255),
        (failure.traceback, TRACEBACK_LIMIT),
        (failure.line, TEXT_LIMIT + 300),
    ):
        assert storable(text)
        assert len(text or "") <= limit
    assert failure.exception_type


def test_an_exception_that_exits_when_it_is_shown_is_kept_too() -> None:
    try:
        kept = failure_of(Exiting()).exception_type
    except SystemExit:  # caught here, since pytest cannot show the exception either
        kept = None
    assert kept == f"{__name__}.Exiting"


@nasty
def test_what_leaves_a_child_survives_pickling(make: Callable[[], Exception]) -> None:
    shown = presentable(make())
    back = pickle.loads(pickle.dumps(portable(shown)))
    assert isinstance(back, Exception)
    assert type_name(back).rpartition(".")[2] == type_name(make()).rpartition(".")[2]


@nasty
def test_what_is_presented_can_be_shown(make: Callable[[], Exception]) -> None:
    shown = presentable(make())
    assert storable(str(shown))
    assert storable(type_name(shown))
    assert len(str(shown)) <= TEXT_LIMIT + 300
    assert repr(shown)


def test_a_harmless_exception_is_presented_as_it_is() -> None:
    error = ValueError("plain")
    assert presentable(error) is error


def test_a_stand_in_says_what_it_stands_for() -> None:
    shown = presentable(ValueError("nul \x00"))
    assert isinstance(shown, UnreadableError)
    assert str(shown) == "ValueError: nul \ufffd"
    assert failure_of(shown).exception_type == "ValueError"
    assert "RuntimeError" in str(presentable(Unprintable()))


def test_an_ordinary_failure_is_told_in_full() -> None:
    failure = failure_of(raised(ValueError("wrong number")))
    assert (failure.exception_type, failure.exception) == ("ValueError", "wrong number")
    assert failure.traceback is not None
    assert failure.traceback.startswith("Traceback")
    assert failure.traceback.rstrip().endswith("ValueError: wrong number")
    assert failure.frame == "test_failures.py:raised"
    assert failure.line == "error: ValueError: wrong number"


def test_a_traceback_that_is_given_is_taken() -> None:
    failure = failure_of(ValueError("x"), 'Traceback …\n  File "/srv/tasks/mail.py", line 3, in send\n')
    assert failure.frame == "mail.py:send"
    assert failure.traceback is not None
    assert "mail.py" in failure.traceback


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    failure = failure_of(raised(ValueError("begin " + "x" * HUGE + " end")))
    assert failure.exception is not None
    assert failure.traceback is not None
    assert failure.exception.startswith("begin ")
    assert failure.exception.endswith(" end")
    assert failure.traceback.startswith("Traceback")
    assert failure.traceback.rstrip().endswith(" end")
    assert " more …" in failure.exception


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(), max_size=200), st.integers(40, 120))
def test_a_cleaned_text_is_short_and_storable(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert storable(cleaned)
    assert len(cleaned) <= limit
    if storable_as_it_is := (storable_or_not(text) and len(text) <= limit):
        assert cleaned == text
    assert storable_as_it_is or cleaned != text


def storable_or_not(text: str) -> bool:
    try:
        return storable(text)
    except UnicodeEncodeError:
        return False


# What happened


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError(), AttemptKind.ERROR),
        (SystemExit(1), AttemptKind.ERROR),
        (SoftTimeLimitExceeded(), AttemptKind.TIMEOUT),
        (TimeLimitExceeded(3), AttemptKind.TIMEOUT),
        (WorkerLostError(), AttemptKind.LOST),
        (Reject("no"), AttemptKind.REJECTED),
    ],
    ids=repr,
)
def test_the_kind_follows_from_the_exception(error: BaseException, kind: AttemptKind) -> None:
    assert kind_of(error) is kind
    assert failure_of(error).kind is kind


def test_a_kind_that_is_given_wins() -> None:
    assert failure_of(ValueError(), kind=AttemptKind.LOST).kind is AttemptKind.LOST


def test_an_exception_is_taken_out_of_the_pools_wrapping() -> None:
    error = ValueError("x")
    assert unwrapped(ExceptionWithTraceback(error, None)) is error  # type: ignore[arg-type]
    assert unwrapped(error) is error
    assert failure_of(ExceptionWithTraceback(error, None)).exception_type == "ValueError"  # type: ignore[arg-type]


def test_a_type_is_named_with_its_module_unless_it_is_pythons_own() -> None:
    assert type_name(KeyError()) == "KeyError"
    assert type_name(Unpicklable()) == f"{__name__}.Unpicklable"
    assert type_name(portable(Unpicklable())) == f"{__name__}.Unpicklable"


def trace_of(*frames: tuple[str, str]) -> str:
    lines = "".join(f'  File "{file}", line 7, in {function}\n    …\n' for file, function in frames)
    return f"Traceback (most recent call last):\n{lines}ValueError: x\n"


@pytest.mark.parametrize(
    ("trace", "frame"),
    [
        (
            trace_of(("/lib/celery/app/trace.py", "trace_task"), ("/srv/tasks/mail.py", "send")),
            "mail.py:send",
        ),
        (trace_of(("/srv/tasks/mail.py", "send"), ("/srv/tasks/mail.py", "<lambda>")), "mail.py:<lambda>"),
        (trace_of(("/srv/tasks/mail.py", "send"), ("/srv/celeriac/task.py", "retry")), "mail.py:send"),
        (trace_of(("/lib/celery/app/trace.py", "trace_task")), "trace.py:trace_task"),
        ("no frame at all", None),
        ("", None),
    ],
)
def test_the_frame_is_the_innermost_of_the_tasks_own(trace: str, frame: str | None) -> None:
    assert frame_of(trace) == frame


def test_the_frame_is_the_tasks_own_where_a_library_raises() -> None:
    import json

    def send() -> None:
        json.loads("no JSON")

    with pytest.raises(ValueError) as caught:
        send()
    assert failure_of(caught.value).frame == "test_failures.py:send"


# A retry on its way out of a child


def test_a_retry_keeps_what_it_carries() -> None:
    again = NewJob(
        id=UUID(int=7),
        job_type="task",
        queue="normal",
        priority=10,
        payload=b"[[], {}, {}]",
        content_type="application/json",
        content_encoding="utf-8",
        headers={"id": str(UUID(int=7))},
        max_tries=5,
        delay=3.0,
    )
    failure = Failure(AttemptKind.ERROR, "ValueError", "x")
    made = JobRetry("again", ValueError("x"), 3.0, again, failure, 9)
    back = pickle.loads(pickle.dumps(made))
    assert type(back) is JobRetry
    assert (back.message, back.when, back.again, back.failure, back.tries) == (
        "again",
        3.0,
        again,
        failure,
        9,
    )
    assert repr(back.exc) == "ValueError('x')"


@nasty
def test_a_retry_for_any_exception_survives_pickling(make: Callable[[], Exception]) -> None:
    back = pickle.loads(pickle.dumps(JobRetry(None, presentable(make()), 3.0)))
    assert back.when == 3.0
