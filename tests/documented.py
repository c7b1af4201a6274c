"""The blocks of code of the README and of docs/, each with its kind: told from what is in it."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Every page that people read; a new one is among them by itself.
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")))

#: Made from docstrings, whose examples ``tests/integration/test_examples.py`` runs.
API_PAGE = ROOT / "docs" / "api.md"

#: Pages whose Python is a part of a project of ``examples/``, which has tests of its own.
OF_A_PROJECT = {ROOT / "docs" / "django.md": ROOT / "examples" / "django"}

#: What may be typed; another program is added here by who makes sure that the line is right.
PROGRAMS = frozenset({"celery", "make", "pip", "openssl", "mkdir", "docker", "cp", "python", "."})

_FENCE = re.compile(r"^(```+|~~~+)\s*(\w*)")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*=\S")
_PICTURE = re.compile(r"[─│▼▶→]|^\S+ .*\n  ")


class Kind(StrEnum):
    SESSION = "session"  # of Python, with what it prints
    SHELL = "shell"  # with what it prints behind lines that begin with "$"
    SETTINGS = "settings"  # lines of an environment
    PYTHON = "python"
    SQL = "sql"
    CONFIGURATION = "configuration"  # of a program, in sections
    PICTURE = "picture"  # nothing to run
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Block:
    page: Path
    line: int  # its first
    text: str
    language: str = ""  # as a fence names it

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def kind(self) -> Kind:
        lines = [line for line in self.text.splitlines() if line.strip()]
        plain = [line.partition("#")[0].rstrip() for line in lines]
        plain = [line for line in plain if line]
        if self.language == "ini":
            return Kind.CONFIGURATION
        if any(line.startswith(">>> ") for line in lines):
            return Kind.SESSION
        if all(_VARIABLE.match(line) for line in plain):
            return Kind.SETTINGS
        if lines[0].startswith("$ ") or all(_program(line) in PROGRAMS for line in plain):
            return Kind.SHELL
        if lines[0].startswith("SELECT "):
            return Kind.SQL
        if _parses(self.text):
            return Kind.PYTHON
        return Kind.PICTURE if self.language == "text" or _PICTURE.search(self.text) else Kind.UNKNOWN

    @property
    def commands(self) -> list[str]:
        """What is typed, without comments."""
        lines = self.text.splitlines()
        if any(line.startswith("$ ") for line in lines):
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [found for line in lines if (found := re.split(r"(?:^|\s+)#", line)[0].strip())]


def blocks(page: Path) -> Iterator[Block]:
    """Those that are indented by four, and those between fences."""
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        begin = number
        if fence := _FENCE.match(lines[number]):
            number += 1
            while number < len(lines) and not lines[number].startswith(fence.group(1)):
                number += 1
            found = lines[begin + 1 : number]
            number += 1
        elif lines[number].startswith("    ") and (not begin or not lines[begin - 1].strip()):
            while number < len(lines) and (lines[number].startswith("    ") or not lines[number].strip()):
                number += 1
            found = lines[begin:number]
        else:
            number += 1
            continue
        if text := textwrap.dedent("\n".join(found)).strip("\n"):
            yield from _parts(Block(page, begin + 1, text, fence.group(2) if fence else ""))


def _parts(block: Block) -> Iterator[Block]:
    """Its paragraphs, when they are of several kinds: commands, then what goes into the environment."""
    if block.kind is not Kind.UNKNOWN:
        yield block
        return
    line = block.line
    for part in block.text.split("\n\n"):
        yield Block(block.page, line, part.strip("\n"), block.language)
        line += part.count("\n") + 2


def spans(page: Path) -> Iterator[str]:
    """Code inside of sentences."""
    prose = "\n".join(line for line in page.read_text().splitlines() if not line.startswith("    "))
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", prose))


def _program(line: str) -> str:
    words = [word for word in line.removeprefix("$ ").split() if not _VARIABLE.match(word)]
    return words[0] if words else ""


def _parses(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    return not all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Name) for node in tree.body)
