"""The glossary: its words are the words of the code and the pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
WORDS = re.findall(r"^\| \*\*(.+?)\*\* \|", GLOSSARY.read_text(), re.MULTILINE)

#: Words of what is still to come.
PLANNED = {"limit", "permit", "admit", "hold"}


def _prose() -> str:
    pages = [path.read_text() for path in (ROOT / "docs").glob("*.md") if path != GLOSSARY]
    code = [path.read_text() for path in (ROOT / "celeriac").rglob("*.py")]
    return "\n".join([(ROOT / "README.md").read_text(), *pages, *code]).lower()


@pytest.mark.parametrize("word", sorted({*WORDS} - PLANNED))
def test_a_word_of_the_glossary_is_used(word: str) -> None:
    assert len(re.findall(rf"\b{word}", _prose())) >= 5


def test_the_glossary_is_read() -> None:
    assert len(WORDS) >= 20
