"""The arguments of a job as a form, and the types of what a person typed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import pytest

from celeriac.console.argument_form import Arguments, as_body, as_python, changes, fields_of, read
from celeriac.errors import BadArgument
from celeriac.operate.acting import argument_types


class Mail:
    """A task."""

    @staticmethod
    def run(to: str, count: int = 1, *rest: Any, password: str = "", **more: Any) -> None: ...


class Typed:
    @staticmethod
    def run(
        a: int = 0,
        b: float = 0.0,
        c: list[str] | None = None,
        d: dict[str, int] | None = None,
        e: datetime | None = None,
        f: UUID | None = None,
        g: Literal["x", "y"] = "x",
        h: Mail | None = None,
        *rest: int,
    ) -> None: ...


def texts(task: Any, old: Arguments) -> dict[str, str]:
    return {one.name: one.text for one in fields_of(task, old)}


@pytest.mark.parametrize(
    "old",
    [
        (["a"], {}),
        (["a", 2, 3, 4], {"password": "s", "x": 1}),
        ([], {"to": "a", "count": 2}),
        (["a"], {"count": 2}),
    ],
)
def test_a_form_that_is_sent_as_it_is_changes_nothing(old: Arguments) -> None:
    new = read(Mail, old, texts(Mail, old))
    assert (list(new[0]), dict(new[1])) == (list(old[0]), dict(old[1]))


def test_what_is_sensitive_is_hidden_and_stays() -> None:
    old = (["a"], {"password": "s3cret"})
    assert texts(Mail, old)["password"] == '"***"'
    assert read(Mail, old, texts(Mail, old) | {"to": '"b"'}) == (["b"], {"password": "s3cret"})


def test_a_field_that_is_empty_is_not_given() -> None:
    assert read(Mail, (["a", 2], {}), {"to": '"a"', "count": ""}) == (["a"], {})
    assert read(Mail, (["a", 2], {}), {"to": "", "count": "2"}) == ([], {"count": 2})


def test_of_a_task_that_is_not_known_all_arguments_are_two_fields() -> None:
    old = ([1], {"password": "s"})
    assert texts(None, old) == {"args": "[1]", "kwargs": '{"password": "***"}'}
    assert read(None, old, {"args": "[2]", "kwargs": '{"password": "***"}'}) == ([2], {"password": "s"})
    with pytest.raises(BadArgument, match="array"):
        read(None, old, {"args": "{}"})


@pytest.mark.parametrize("text", ["me", "[1", "{", "[" * 5_000])
def test_what_is_no_json_is_refused_by_the_name_of_its_field(text: str) -> None:
    with pytest.raises(BadArgument, match="to: no JSON"):
        read(Mail, (["a"], {}), {"to": text})


def test_a_change_is_told_and_a_secret_is_not() -> None:
    old, new = (["a"], {"password": "s"}), (["b"], {"password": "t"})
    before, after = fields_of(Mail, old), fields_of(Mail, new)
    typed = [type(one)(**{**_of(one), "text": '"t"'}) if one.name == "password" else one for one in after]
    told = {one.name: (one.before, one.after) for one in changes(before, typed, after)}
    assert told == {"to": ('"a"', '"b"'), "password": ('"***"', '"***", another one')}


def _of(one: Any) -> dict[str, Any]:
    return {"name": one.name, "wanted": one.wanted, "optional": one.optional}


@pytest.mark.parametrize(
    "given",
    [
        {"a": 7, "b": 7, "c": ["x"], "d": {"x": 1}, "e": "2030-01-01T00:00:00Z"},
        {"f": "0192d3a4-0000-7000-8000-000000000000", "g": "y", "h": "anything"},
        {"e": datetime(2030, 1, 1)},
        {"c": None},
    ],
)
def test_arguments_of_the_right_types_are_let_pass(given: dict[str, Any]) -> None:
    argument_types.check(Typed, (), given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a", "7"),
        ("a", True),
        ("b", "x"),
        ("c", [1]),
        ("d", {"x": "y"}),
        ("e", "soon"),
        ("f", "7"),
        ("g", "z"),
    ],
)
def test_an_argument_of_another_type_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(BadArgument, match=f"^{name}: wanted ") as refused:
        argument_types.check(Typed, (), {name: value})
    assert str(value) not in str(refused.value) or len(str(value)) == 1


def test_arguments_that_do_not_fit_the_signature_are_refused() -> None:
    with pytest.raises(BadArgument, match="arguments"):
        argument_types.check(Mail, (), {})


def test_a_job_is_copied_as_a_call() -> None:
    values = {"args": ["a"], "kwargs": {"password": "***"}}
    assert (
        as_python("mail.send", values, {"queue": "low"})
        == "app.send_task('mail.send', args=['a'], kwargs={'password': '***'}, queue='low')"
    )
    assert as_body("mail.send", values, {}) == (
        '{"task": "mail.send", "args": ["a"], "kwargs": {"password": "***"}}'
    )
