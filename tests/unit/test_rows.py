"""Tables for programs are the ones that rich would print, without rich."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.cli import output
from celeriac.cli.rows import Rows

CONTEXT: Any = SimpleNamespace(obj=SimpleNamespace(no_color=False))


def rows() -> Rows:
    made = Rows("id", "state", "tries", "note", right=["tries"], fold=["id"], head=2, note=True)
    made.add("a1", output.state("pending"), "3", "a note that is longer than any terminal " * 8)
    made.add("日本 and more than twenty characters", "running", "30,000", output.cell("[red]x[/red]"))
    made.section()
    made.add("b", output.Styled("failed", "red"), "·", "")
    return made


def printed(made: Rows, to: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is printed into a file."""
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    with to.open("w", encoding="utf-8") as file:
        monkeypatch.setattr("sys.stdout", file)
        made.print(CONTEXT)
    monkeypatch.undo()
    return to.read_text(encoding="utf-8")


def test_a_table_without_rows_has_its_headings() -> None:
    assert list(Rows("id", "state").lines()) == ["id  state", "─────────"]


def test_a_program_reads_the_lines_that_rich_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rows()
    plain = printed(made, tmp_path / "plain", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("celeriac.cli.rows._is_read_by_a_program", lambda: False)
        assert printed(made, tmp_path / "rich", patch) == plain


def test_a_terminal_of_its_own_width_is_obeyed(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows().print(CONTEXT)
    assert "  tries 3" in capsys.readouterr().out  # paragraphs, which a program would not read
