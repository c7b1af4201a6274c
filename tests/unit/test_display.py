"""What is shown in a terminal cannot act on it."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.cli import output
from celeriac.cli.rows import Rows
from celeriac.display import ago, length, safe, safe_lines, stamp
from celeriac.errors import JobNotFound
from celeriac.operate.presentation.refusals import refusal_of


def test_no_control_character_passes() -> None:
    everything = "".join(map(chr, range(0x3000)))
    shown = safe(everything)
    assert {
        character for character in shown if unicodedata.category(character) in ("Cc", "Zl", "Zp")
    } == set()
    assert {
        c for c in shown if unicodedata.bidirectional(c) in ("LRO", "RLO", "LRE", "RLE", "PDF", "RLI")
    } == set()
    assert set(shown) >= {"a", "é", "ж", "€", " "}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("one\ntwo\r\n", "one\\ntwo\\r\\n"),
        ("\x9b2J\x7f\x00", "\\x9b2J\\x7f\\x00"),
        ("a\u2028b\u202ec\u200bd", "a\\u2028b\\u202ec\\u200bd"),
        ("\ud800", "\\ud800"),
        ("Grüße 🚀 日本", "Grüße 🚀 日本"),
        (None, "None"),
    ],
)
def test_what_is_unsafe_is_seen(text: object, shown: str) -> None:
    assert safe(text) == shown
    safe(text).encode("utf-8")


def test_a_limit_is_of_what_was_given() -> None:
    assert safe("abcdef", length=4) == "abc…"
    assert safe("abcd", length=4) == "abcd"


def test_a_traceback_keeps_its_lines_and_nothing_else() -> None:
    assert safe_lines("a\n  b\x1b[0m\r\n\tc") == "a\n  b\\x1b[0m\\r\n    c"


@pytest.mark.parametrize("for_a_terminal", [True, False])
def test_a_cell_is_neither_markup_nor_two_lines(
    for_a_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if for_a_terminal:
        monkeypatch.setenv("COLUMNS", "80")
    made = Rows("name")
    made.add(output.cell("[red]x[/red]\n:rocket:"))
    context: Any = SimpleNamespace(obj=SimpleNamespace(no_color=False))
    made.print(context)
    assert capsys.readouterr().out.splitlines()[-1].strip() == "[red]x[/red]\\n:rocket:"


def test_an_error_cannot_act_on_the_terminal_either() -> None:
    told = refusal_of(JobNotFound("\x1b[2J\n"), None)
    assert told is not None
    assert "\x1b" not in told.sentence
    assert "\n" not in told.sentence


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    assert refusal_of(AssertionError("wrong"), None) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (3600, "1 h"), (3660, "1 h 1 min"), (90_061, "1 d 1 h")],
)
def test_a_span_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert length(timedelta(seconds=seconds)) == said


def test_a_moment_is_said_from_now_and_on_the_clock() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert ago(now, now) == "0.0 s ago"
    assert ago(now + timedelta(days=2), now) == "in 2 d"
    assert stamp(now) == "2030-01-01 00:00:00 UTC"
    assert stamp(None) == "–"


def test_values_become_plain_json() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    found = output.plain({"at": moment, "span": timedelta(seconds=2), "bytes": b"x", "list": (1, None, True)})
    assert found == {"at": "2030-01-01T00:00:00Z", "span": 2.0, "bytes": "b'x'", "list": [1, None, True]}
