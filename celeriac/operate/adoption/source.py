"""Find calls in source files that behave differently here. Files are parsed with ``ast``, never run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: Calls that publish a message, and their arguments that delay it.
_PUBLISH = frozenset({"apply_async", "send_task", "signature", "subtask", "set", "s", "si", "retry"})
_DELAYS = frozenset({"eta", "countdown"})
_DECORATORS = frozenset({"task", "shared_task"})
_MOST = 2_000  # files


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, and what stands there."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} ({self.what})"


@dataclass(frozen=True, slots=True)
class Uses:
    delays: tuple[Place, ...] = ()  # eta or countdown given to a call
    priorities: tuple[Place, ...] = ()  # a numeric priority given to a call
    unnamed: tuple[Place, ...] = ()  # task decorators without name=
    unreadable: tuple[str, ...] = ()


def scan(files: Iterable[Path], *, below: Path) -> Uses:
    """The calls in the files. Names of files are relative to ``below``."""
    delays: list[Place] = []
    priorities: list[Place] = []
    unnamed: list[Place] = []
    unreadable: list[str] = []
    for file in sorted(files)[:_MOST]:
        name = str(file.relative_to(below)) if file.is_relative_to(below) else str(file)
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, OSError):
            unreadable.append(name)
            continue
        delays += _given(tree, name, _DELAYS)
        priorities += _given(tree, name, frozenset({"priority"}))
        unnamed += _unnamed(tree, name)
    return Uses(_in_order(delays), _in_order(priorities), _in_order(unnamed), tuple(unreadable))


def _in_order(places: list[Place]) -> tuple[Place, ...]:
    return tuple(sorted(places, key=lambda place: (place.file, place.line)))


def _given(tree: ast.AST, file: str, wanted: frozenset[str]) -> Iterator[Place]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node.func) in _PUBLISH:
            names = {keyword.arg for keyword in node.keywords if not _is_none(keyword.value)}
            for name in sorted(wanted & {name for name in names if name}):
                yield Place(file, node.lineno, f"{_called(node.func)}({name}=…)")


def _unnamed(tree: ast.AST, file: str) -> Iterator[Place]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
                named = any(keyword.arg == "name" for keyword in call.keywords)
                if _called(call.func) in _DECORATORS and not named:
                    yield Place(file, node.lineno, node.name)


def _called(function: ast.AST) -> str:
    """The last name of what is called."""
    return str(getattr(function, "attr", None) or getattr(function, "id", ""))


def _is_none(value: ast.AST) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
