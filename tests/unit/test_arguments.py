"""Arguments: what may travel comes back as it was, what may not is named, what is secret is not shown."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from celery.utils.saferepr import saferepr
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads

from celeriac.enqueue.arguments import MAX_BITS, MAX_DEPTH, Secret, check, is_sensitive, represent
from celeriac.errors import BadArgument, EnqueueError
from celeriac.names import check_text

quick = settings(max_examples=25, deadline=None)


def nested(levels: int) -> list[Any]:
    """A list inside of a list, so many of them."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def refused(*args: Any, **kwargs: Any) -> BadArgument:
    with pytest.raises(BadArgument) as caught:
        check(args, kwargs)
    return caught.value


# What may not travel, and its name in the sentence


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({1, 2}, "set"),
        (frozenset(), "frozenset"),
        (object(), "object"),
        (1j, "complex"),
        (bytearray(b"x"), "bytearray"),
        (range(3), "range"),
        (iter([1]), "list_iterator"),
        (MappingProxyType({"a": 1}), "mappingproxy"),
        (timedelta(1), "timedelta"),
        (ValueError("x"), "ValueError"),
    ],
)
def test_what_json_does_not_know_is_refused_by_its_type(value: object, kind: str) -> None:
    assert str(refused(value)) == f"args[0]: {kind} is not JSON"


@pytest.mark.parametrize(
    ("args", "kwargs", "name"),
    [
        ([0, {1}], {}, "args[1]"),
        ([{"to": {1}}], {}, "args[0]['to']"),
        ([[[], [0, {1}]]], {}, "args[0][1][1]"),
        ([], {"to": {1}}, "to"),
        ([], {"to": {"who": [{1}]}}, "to['who'][0]"),
        ([({1},)], {}, "args[0][0]"),
    ],
)
def test_the_sentence_names_the_argument(args: list[Any], kwargs: dict[str, Any], name: str) -> None:
    error = refused(*args, **kwargs)
    assert error.name == name
    assert str(error).startswith(f"{name}: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_lacks_is_refused(value: float) -> None:
    assert str(refused({"rate": value})) == f"args[0]['rate']: JSON has no {value!r}"


@pytest.mark.parametrize(
    "value", [10**5000, -(10**5000), 1 << MAX_BITS], ids=["5000 digits", "negative", "one too many"]
)
def test_an_integer_that_python_would_not_read_back_is_refused(value: int) -> None:
    error = refused(value)
    assert "bits" in str(error)
    assert len(str(error)) < 200


def test_the_largest_integer_comes_back() -> None:
    for value in ((1 << MAX_BITS) - 1, -(1 << MAX_BITS) + 1):
        check([value], {})
        assert loads(dumps(value)) == value


@pytest.mark.parametrize("key", [1, None, 1.5, True, (1, 2)])
def test_a_key_that_is_no_text_is_refused(key: object) -> None:
    error = refused({"to": {key: "x"}})
    assert error.name == "args[0]['to']"
    assert repr(key) in str(error)


def test_a_keyword_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadArgument, match=r"^kwargs: .* 1 "):
        check((), {1: "x"})  # type: ignore[dict-item]


def test_a_dict_that_kombu_would_rebuild_is_refused() -> None:
    bomb = {"__type__": "uuid", "__value__": {"int": 1}}
    assert "rebuilt" in str(refused([bomb]))
    assert refused(**bomb).name == "kwargs"


@pytest.mark.parametrize(
    "value",
    [{"__type__": "uuid"}, {"__value__": 1}, {"__type__": "uuid", "__value__": 1, "more": 2}],
)
def test_a_dict_that_only_looks_like_one_comes_back(value: dict[str, Any]) -> None:
    check([value], {})
    assert loads(dumps(value)) == value


def test_depth_is_bounded_and_the_deepest_comes_back() -> None:
    deepest = nested(MAX_DEPTH - 1)
    check([deepest], {})
    assert loads(dumps([deepest])) == [deepest]
    assert f"deeper than {MAX_DEPTH} levels" in str(refused(nested(MAX_DEPTH)))


def test_a_depth_of_100_000_is_refused_in_a_short_sentence() -> None:
    assert len(str(refused(nested(100_000)))) < 300


def test_a_deep_dict_is_refused_too() -> None:
    value: dict[str, Any] = {}
    for _ in range(100_000):
        value = {"in": value}
    assert "deeper" in str(refused(to=value))


def test_what_contains_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    loop: dict[str, Any] = {"a": [{}]}
    loop["a"][0]["b"] = loop
    twice: list[Any] = []
    twice.extend([twice, twice])
    for value in (ring, loop, twice):
        assert "contains itself" in str(refused(value))


@pytest.mark.timeout(60)
def test_a_small_value_that_unfolds_without_end_is_refused_at_once() -> None:
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    with pytest.raises(EnqueueError):
        check([value], {})


@pytest.mark.parametrize(
    "value", [{"hunter2"}, [{"to": {1}, "password": "hunter2"}], [*nested(200), "hunter2"]]
)
def test_the_sentence_never_shows_the_value(value: Any) -> None:
    assert "hunter2" not in str(refused(password=value))


# What may travel comes back


@pytest.mark.parametrize(
    "value",
    [
        b"plain",
        b"\xff\x00\xfe",
        datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=-3.5))),
        datetime(2030, 1, 2),
        date(2030, 1, 2),
        time(3, 4, 5, 678901),
        Decimal("1.10"),
        UUID(int=7),
        "nul \x00 and lone surrogate \ud800",
        "",
        OrderedDict(a=1),
    ],
)
def test_a_value_of_another_type_comes_back(value: object) -> None:
    check([value], {"to": {"deep": [value]}})
    assert loads(dumps(value)) == value


def test_a_tuple_travels_as_a_list() -> None:
    check(((1, (2,)),), {})
    assert loads(dumps((1, (2,)))) == [1, [2]]


def test_a_value_that_says_how_it_is_json_may_travel() -> None:
    class Money:
        def __json__(self) -> str:
            return "1 EUR"

    check([Money()], {})
    assert json.loads(dumps([Money()])) == ["1 EUR"]


# A pair of surrogates in two characters is one character to JSON.
_texts = st.text(st.characters()).filter(lambda text: not re.search("[\ud800-\udbff][\udc00-\udfff]", text))
_zones = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30))])
_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts
    | st.binary()
    | st.datetimes(timezones=_zones).map(lambda moment: moment.replace(fold=0))
    | st.dates()
    | st.times().map(lambda moment: moment.replace(fold=0))
    | st.decimals(allow_nan=False)
    | st.uuids()
)
_values = st.recursive(_leaves, lambda inner: st.lists(inner) | st.dictionaries(_texts, inner), max_leaves=8)


@quick
@given(_values)
def test_whatever_is_accepted_comes_back_as_it_was(value: Any) -> None:
    check([value], {})
    back = loads(dumps([value]))
    assert back == [value]
    assert repr(back) == repr([value])  # 1, 1.0 and True are equal


@quick
@given(st.recursive(_leaves | st.sampled_from([{1}, 1j, float("nan"), object]), st.lists, max_leaves=8))
def test_what_the_encoder_would_refuse_is_refused_first(value: Any) -> None:
    try:
        text = dumps([value], default_kwargs={"allow_nan": False})
    except (TypeError, ValueError):
        assert refused(value).name.startswith("args[0]")
    else:
        check([value], {})
        assert json.loads(text)


# What people see


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PASSWORD",
        "db_passwd",
        "passphrase",
        "pass",
        "smtp_pass",
        "secret",
        "client_secret_2",
        "token",
        "access_token_old",
        "api_key",
        "apikey",
        "X-Api-Key",
        "aws_access_key",
        "card_number",
        "creditCardNo",
        "customer_cvc",
        "iban",
        "session-cookie",
        "credentials",
        "Authorization",
        "private_key",
        "private-key",
    ],
)
def test_a_sensitive_name_is_known(name: str) -> None:
    assert is_sensitive(name)


@pytest.mark.parametrize(
    "name",
    ["passenger", "passes", "compass_heading", "key", "author", "to", "discard_no", "cards", "", 7, None],
)
def test_an_ordinary_name_is_not_sensitive(name: object) -> None:
    assert not is_sensitive(name)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"password": "hunter2", "to": "x"}, "{'password': '***', 'to': 'x'}"),
        ([{"deep": {"token": ["hunter2"]}}], "[{'deep': {'token': '***'}}]"),
        (("x", {"api_key": {"hunter2": 1}}), "('x', {'api_key': '***'})"),
        ([Secret("hunter2"), (Secret("hunter2"),)], "['***', ('***',)]"),
        ({"to": Secret("hunter2")}, "{'to': '***'}"),
        ({"Authorization": "Bearer hunter2"}, "{'Authorization': '***'}"),
    ],
)
def test_what_is_sensitive_is_hidden_at_any_depth(value: Any, shown: str) -> None:
    assert represent(value) == shown


def test_a_positional_argument_is_hidden_by_the_name_of_its_parameter() -> None:
    assert represent(("x", "hunter2", "y"), names=("to", "password")) == "('x', '***', 'y')"
    assert represent(("x", "hunter2"), names=("to", "password", "more")) == "('x', '***')"


def test_what_is_not_sensitive_is_shown_as_it_is() -> None:
    assert represent(("x", {"to": [1]}), names=("who", "what")) == "('x', {'to': [1]})"
    assert represent(("x",), hide=False) == "('x',)"


def test_a_representation_is_short_however_long_the_value() -> None:
    assert len(represent(["x" * 100_000])) <= 1100
    assert len(represent({str(number): number for number in range(10_000)})) <= 1100


@quick
@given(st.recursive(st.just(Secret("hunter2")), lambda v: st.lists(v) | st.dictionaries(st.text("ab"), v)))
def test_a_secret_is_never_shown_and_always_told_of(value: Any) -> None:
    assert "hunter2" not in represent([value])
    assert check([value], {}) == ("hunter2" in dumps([value]))


@pytest.mark.parametrize(
    ("args", "kwargs", "sensitive"),
    [
        (["x"], {"to": "x"}, False),
        ([], {"password": "x"}, True),
        ([{"deep": [{"token": 1}]}], {}, True),
        ([Secret("x")], {}, True),
        (["password"], {"to": "password"}, False),
    ],
)
def test_the_check_says_whether_something_must_be_hidden(
    args: list[Any], kwargs: dict[str, Any], sensitive: bool
) -> None:
    assert check(args, kwargs) is sensitive


def test_a_secret_travels_as_it_is_and_is_not_shown() -> None:
    secret = Secret("hunter2")
    assert loads(dumps({"to": secret})) == {"to": "hunter2"}
    assert "hunter2" not in f"{secret!r} {[secret]} { {'a': secret} }"


# Texts that have a column of their own


def test_a_text_of_the_longest_length_is_taken() -> None:
    assert check_text("user_id", "é" * 255, length=255) == "é" * 255


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("x" * 256, "at most 255 characters, found 256"),
        ("", "an empty one"),
        ("a\x00b", "NUL"),
        ("a\ud800", "surrogates"),
        ("\udfff", "surrogates"),
        (7, "wanted text, found int"),
        (b"x", "wanted text, found bytes"),
    ],
)
def test_a_text_that_a_database_would_refuse_is_refused(value: object, found: str) -> None:
    with pytest.raises(BadArgument, match=found) as caught:
        check_text("user_id", value, length=255)
    assert caught.value.name == "user_id"


plain = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text(), st.binary(max_size=5))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(plain), st.lists(plain).map(tuple), st.dictionaries(st.text(), plain)))
def test_what_is_plain_is_shown_as_celery_shows_it(value: Any) -> None:
    assert represent(value, hide=False) == saferepr(value, 1024)
