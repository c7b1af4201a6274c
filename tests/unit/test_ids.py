"""Ids: in the order of time, derived from a key, read from what others call one."""

from __future__ import annotations

import time
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.errors import BadArgument
from celeriac.ids import derived_id, new_id, optional_id, parse_id, parse_row_id, row_id, task_id_of
from tests.support import wait_until

quick = settings(max_examples=25, deadline=None)


def milliseconds(job: str) -> int:
    return UUID(job).int >> 80


def test_a_new_id_is_a_uuid_of_version_7() -> None:
    for job in (UUID(new_id()) for _ in range(200)):
        assert (job.version, job.variant) == (7, RFC_4122)


def test_a_new_id_begins_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = milliseconds(new_id())
    assert before <= made <= time.time_ns() // 1_000_000


def test_a_later_id_is_a_larger_one() -> None:
    first = new_id()
    later = wait_until(
        lambda: next(filter(lambda job: milliseconds(job) > milliseconds(first), [new_id()]), None),
        within=1,
        saying="another millisecond",
    )
    assert later > first
    assert UUID(later) > UUID(first)


def test_ids_of_one_millisecond_differ() -> None:
    ids = [new_id() for _ in range(5_000)]
    assert len(set(ids)) == len(ids)
    assert len({milliseconds(job) for job in ids}) < len(ids)


def test_a_derived_id_never_changes() -> None:
    assert derived_id("mail.send", "42") == "12a3ba71-b2f5-5db9-9e9f-4b28ac71bb21"


@quick
@given(st.tuples(st.text("a:1"), st.text("a:1")), st.tuples(st.text("a:1"), st.text("a:1")))
def test_another_task_or_key_has_another_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (derived_id(*one) == derived_id(*other)) == (one == other)
    assert UUID(derived_id(*one)).version == 5


@pytest.mark.parametrize("spelling", [str, str.upper, lambda text: text.replace("-", "")])
def test_a_uuid_is_read_in_every_spelling(spelling: object) -> None:
    job = UUID(new_id())
    assert parse_id(spelling(str(job))) == job  # type: ignore[operator]
    assert parse_id(job) is job


@pytest.mark.parametrize("value", ["", "7", "not-a-uuid", None, 7, [], "x" * 10_000, "\x00", "\ud800"])
def test_what_is_no_uuid_is_refused_by_its_name(value: object) -> None:
    with pytest.raises(BadArgument) as caught:
        parse_id(value, name="after")
    assert caught.value.name == "after"
    assert "wanted a UUID" in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["order-7", "7", "Bestellung Ü", "a/b?c=d", "x" * 255, "urn:order:7"])
def test_a_text_that_is_no_uuid_names_one_row_for_good(text: str) -> None:
    assert parse_row_id(text) == parse_row_id(text) == row_id(text)
    assert task_id_of(text) == text
    assert parse_row_id(text).version == 5
    assert parse_row_id(text) != parse_row_id(text[:-1] + "z")


def test_the_row_of_a_text_never_changes() -> None:
    assert str(parse_row_id("order-7")) == "2b1ecec5-1021-501c-8203-bc04b39b0b49"


@pytest.mark.parametrize("spelling", ["{}", "urn:uuid:{}", "{{{}}}"])
def test_a_uuid_is_its_rows_own_id_in_every_spelling(spelling: str) -> None:
    job = new_id()
    for text in (spelling.format(job), spelling.format(job.upper()), spelling.format(UUID(job).hex)):
        assert (row_id(text), parse_row_id(text), task_id_of(text)) == (UUID(job), UUID(job), job)
    assert parse_row_id(UUID(job)) == UUID(job)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("", "an empty one"),
        (None, "found NoneType"),
        (7, "found int"),
        ([], "found list"),
        ("x" * 256, "at most 255 characters, found 256"),
        ("a\nb", "wanted no control characters, found 'a\\nb'"),
        ("a\x7f", "wanted no control characters"),
        ("a\x85", "wanted no control characters"),
        ("\x00", "NUL"),
        ("\ud800", "lone surrogates"),
    ],
)
def test_what_can_be_no_task_id_is_refused_by_its_name(value: object, sentence: str) -> None:
    assert row_id(value) is None
    for refuse in (lambda: parse_row_id(value), lambda: task_id_of(value)):
        with pytest.raises(BadArgument, match="task_id") as caught:
            refuse()
        assert sentence in str(caught.value)


def test_an_optional_id_may_be_missing() -> None:
    job = new_id()
    assert optional_id(job) == UUID(job)
    assert optional_id(UUID(job)) == UUID(job)


@pytest.mark.parametrize(
    "value", [None, "", "7", 0, 7, -1, 1.5, float("nan"), [], [1], {}, {"a": 1}, b"x", "\ud800"]
)
def test_what_is_no_uuid_counts_as_none_where_an_id_may_be_missing(value: object) -> None:
    assert optional_id(value) is None
