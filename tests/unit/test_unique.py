"""Unique jobs as they are declared, and which calls have the same key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads

from celeriac.errors import BadArgument
from celeriac.limits.calls_in_time import Debounce, Throttle
from celeriac.limits.unique import OnConflict, Rule, Unique, While
from celeriac.limits.unique_key import KeyMaker, UniqueCall, read
from celeriac.limits.unique_rules import declared, of_call


def send(order: int, *more: Any, note: str = "", urgent: bool = False, **rest: Any) -> None: ...


def key(*args: Any, names: Sequence[str] | None = None, task: str = "mail.send", **kwargs: Any) -> str:
    rule = Rule(None if names is None else tuple(names), While.ACTIVE)
    return KeyMaker(task, send, rule).key(args, kwargs)


# ---- what is declared


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"args": "order"}, "wanted a tuple of the names"),
        ({"args": 7}, "wanted a tuple of the names"),
        ({"args": ("order", 7)}, "different names"),
        ({"args": ("order", "order")}, "different names"),
        ({"args": ("",)}, "different names"),
        ({"while_": "running"}, "wanted waiting, active or a time"),
        ({"while_": 60}, "wanted waiting, active or a time"),
        ({"while_": timedelta(0)}, "above 0"),
        ({"while_": timedelta(days=400)}, "up to a year"),
        ({"on_conflict": "ignore"}, "wanted one of keep, replace, reject"),
        ({"on_conflict": None}, "wanted one of keep, replace, reject"),
    ],
)
def test_a_rule_that_can_mean_nothing_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        Unique(**values)


def test_a_list_of_names_is_as_good_as_a_tuple() -> None:
    assert Unique(args=["a", "b"]) == Unique(args=("a", "b"))  # type: ignore[arg-type]  # what people write


@pytest.mark.parametrize(
    "unique",
    [
        Unique(),
        Unique(args=("order",), while_="waiting", on_conflict="replace"),
        Unique(args=(), while_=timedelta(minutes=5), on_conflict="reject"),
    ],
)
def test_a_rule_travels_as_json(unique: Unique) -> None:
    rule = declared(unique=unique)
    assert rule is not None
    assert of_call({"unique": loads(dumps(unique))}, None) == rule
    assert of_call({"unique": unique}, None) == rule
    assert of_call({}, rule) == rule
    call = read(json.loads(json.dumps(UniqueCall("k", rule).written())))
    assert call is not None
    assert (call.key, call.rule.while_, call.rule.on_conflict) == ("k", rule.while_, rule.on_conflict)
    assert call.rule.period == rule.period


@pytest.mark.parametrize("said", [True, "order", ("order",), {"key": "order"}, {"args": "order"}, 60])
def test_what_a_call_says_is_a_rule_or_false(said: object) -> None:
    with pytest.raises(BadArgument):
        of_call({"unique": said}, None)


@pytest.mark.parametrize("said", [True, "order", property(lambda self: 1), None])
def test_an_attribute_of_the_name_with_anything_else_is_the_authors_own(said: object) -> None:
    assert declared(unique=said) is None
    if not isinstance(said, bool):
        assert declared(debounce=said, throttle=said) is None


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("debounce", Debounce(5, at_most=60, args=("order",))),
        ("debounce", Debounce(timedelta(seconds=5))),
        ("debounce", 5),
        ("throttle", Throttle(60, args=())),
    ],
)
def test_rules_in_time_travel_as_json(option: str, said: Any) -> None:
    rule = declared(**{option: said})
    assert rule is not None
    assert rule.option == option
    assert of_call({option: said}, None) == of_call({option: loads(dumps(said))}, None) == rule
    call = read(json.loads(json.dumps(UniqueCall("k", rule).written())))
    assert call is not None
    assert (call.rule.wait, call.rule.at_most, call.rule.period) == (rule.wait, rule.at_most, rule.period)


def test_a_debounced_job_waits_ten_times_as_long_at_most_unless_it_is_said() -> None:
    assert of_call({"debounce": 5}, None) == Rule(
        None, While.WAITING, OnConflict.REPLACE, wait=5.0, at_most=50.0, option="debounce"
    )
    assert of_call({"throttle": timedelta(minutes=1)}, None) == Rule(
        None, While.PERIOD, period=60.0, option="throttle"
    )


@pytest.mark.parametrize(
    "said",
    [
        {"debounce": 0},
        {"debounce": "5"},
        {"debounce": True},
        {"debounce": {"wait": 5, "max": 9}},
        {"debounce": {"at_most": 9}},
        {"throttle": -1},
        {"throttle": {"period": 60, "trailing": True}},
        {"throttle": Debounce(5)},
        {"debounce": 5, "throttle": 5},
        {"unique": Unique(), "debounce": 5},
    ],
)
def test_a_rule_in_time_that_can_mean_nothing_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(BadArgument):
        of_call(said, None)


def test_at_most_is_not_shorter_than_the_wait() -> None:
    with pytest.raises(BadArgument, match="at_most: wanted a time that is not shorter than wait, found 4"):
        Debounce(5, at_most=4)
    assert Debounce(5, at_most=5)._rule.at_most == 5


def test_a_task_declares_one_rule() -> None:
    with pytest.raises(BadArgument, match="there is debounce beside it"):
        declared(debounce=5, throttle=5)
    with pytest.raises(BadArgument, match="wait: wanted a time above 0"):
        declared(debounce=0)


def test_a_call_says_that_no_rule_of_its_task_holds() -> None:
    rule = declared(debounce=5)
    assert of_call({"debounce": False}, rule) is None
    assert of_call({"unique": False}, rule) is None
    assert of_call({"debounce": False, "throttle": 60}, rule) == declared(throttle=60)


# ---- keys


def test_arguments_are_known_by_their_names_however_they_are_passed() -> None:
    assert key(7, note="x") == key(order=7, note="x")
    assert key(7) == key(7, note="") == key(7, note="", urgent=False), "defaults are arguments"
    assert key(7, a=1, b=2) == key(7, b=2, a=1)
    assert key(7, meta={"a": 1, "b": [1, 2]}) == key(7, meta={"b": [1, 2], "a": 1})
    assert key(7, meta=(1, 2)) == key(7, meta=[1, 2]), "as they come back from JSON"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((7,), ("7",)),
        ((1,), (True,)),
        ((0,), (None,)),
        ((1,), (1.0,)),
        ((7, 8), (7,)),
        ((date(2026, 1, 1),), ("2026-01-01",)),
        ((Decimal("1.0"),), (Decimal("1.00"),)),
        ((datetime(2026, 1, 1, tzinfo=UTC),), (datetime(2026, 1, 2, tzinfo=UTC),)),
        ((UUID(int=1),), (str(UUID(int=1)),)),
        ((b"a",), ("a",)),
        (("\ud800",), ("\ud801",)),
    ],
)
def test_what_is_another_value_in_the_message_is_another_key(one: Any, other: Any) -> None:
    assert key(*one) != key(*other)


def test_only_the_named_arguments_make_the_key() -> None:
    assert key(7, note="a", names=["order"]) == key(order=7, note="b", names=["order"])
    assert key(7, names=["order"]) != key(8, names=["order"])
    assert key(7, names=[]) == key(8, note="x", names=[])
    assert key(7, tenant=1, names=["tenant"]) != key(7, tenant=2, names=["tenant"])
    assert key(7, 8, names=["more"]) != key(7, 9, names=["more"])


def test_a_key_is_of_its_task_and_fits_its_column() -> None:
    assert key(7) != key(7, task="mail.sent")
    assert key(7).startswith("mail.send:")
    long = [key(7, task="x" * 255), key(7, task="x" * 254 + "y")]
    assert long[0] != long[1]
    assert max(map(len, long)) <= 255


def test_an_argument_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(BadArgument, match=r"the call of mail\.send has no argument 'tenant' for its key"):
        key(7, names=["tenant"])
    with pytest.raises(BadArgument, match="missing a required argument: 'order'"):
        key()


def test_of_a_task_elsewhere_only_arguments_that_are_passed_by_name_are_known() -> None:
    maker = KeyMaker("elsewhere", None, Rule(("order",), While.ACTIVE))
    assert maker.key((), {"order": 7, "note": 1}) == maker.key((), {"order": 7})
    with pytest.raises(BadArgument, match="has no argument 'order'"):
        maker.key((7,), {})
    every = KeyMaker("elsewhere", None, Rule(None, While.ACTIVE))
    assert every.key((7,), {"note": 1}) == every.key((7,), {"note": 1}) != every.key((8,), {"note": 1})


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(_values, _values)
def test_two_calls_have_the_same_key_if_and_only_if_they_say_the_same(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (key(one) == key(other)) is same
    assert key(one) == key(order=json.loads(json.dumps(one)))


@given(st.none() | st.text() | st.lists(st.none() | st.text() | st.integers() | st.floats(), max_size=7))
def test_whatever_a_header_holds_is_read_or_passed_over(header: Any) -> None:
    found = read(header)
    assert found is None or found.written()[:3] == header[:3]


def test_the_words_are_those_that_people_write() -> None:
    assert [*OnConflict] == ["keep", "replace", "reject"]
    assert {While.WAITING, While.ACTIVE} == {"waiting", "active"}
