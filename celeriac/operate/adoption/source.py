"""Find in source files what behaves differently here. Files are parsed with ``ast``, never run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from celeriac.operate.adoption.source_settings import settings_in

#: Calls that publish a message or make a signature that does.
_PUBLISH = frozenset({"apply_async", "send_task", "signature", "subtask", "set", "s", "si", "retry"})
_DECORATORS = frozenset({"task", "shared_task", "periodic_task"})
_MOST = 2_000  # files
_NEVER = frozenset({".git", ".tox", ".venv", "venv", "node_modules", "site-packages", "__pycache__"})


class Use(StrEnum):
    """What is looked for in calls, decorators and classes."""

    DELAY = "delay"  # eta or countdown of a call
    PRIORITY = "priority"  # a number
    QUEUE = "queue"  # a name
    EXCHANGE = "exchange"  # an exchange or a routing key
    EARLY = "acks_late"  # acks_late=False
    ONCE = "max_retries"  # max_retries=0
    SERIALIZER = "serializer"  # another than JSON, or one of the project's own
    TASK_CLASS = "task class"  # a class of tasks
    REQUEST = "request class"  # a class of requests
    COROUTINE = "coroutine"  # an async def that is a task


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, and what stands there."""

    file: str
    line: int
    what: str
    value: str = ""  # of an option: a queue's name

    def __str__(self) -> str:
        return f"{self.file}:{self.line} ({self.what})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What stands in the files.

    Attributes:
        settings: Celery's settings that are given plain values.
        unreadable: files that are no Python of this version.
    """

    places: dict[Use, tuple[Place, ...]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


def python_files(tree: Path) -> list[Path]:
    """The Python files below ``tree``, but for those of installed packages."""
    found = (file for file in tree.rglob("*.py") if not _NEVER & set(file.relative_to(tree).parts))
    return sorted(found)[:_MOST]


def scan(files: Iterable[Path], *, below: Path) -> Source:
    """What stands in the files. Their names are relative to ``below``."""
    found: dict[Use, list[Place]] = {}
    settings: dict[str, Any] = {}
    unreadable: list[str] = []
    for file in sorted(files)[:_MOST]:
        name = str(file.relative_to(below)) if file.is_relative_to(below) else str(file)
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, OSError, RecursionError):
            unreadable.append(name)
            continue
        for node in ast.walk(tree):
            for use, place in _uses(node, name):
                found.setdefault(use, []).append(place)
        settings |= settings_in(tree)
    in_order = {use: tuple(sorted(found[use], key=lambda place: (place.file, place.line))) for use in found}
    return Source(places=in_order, settings=settings, unreadable=tuple(unreadable))


def _uses(node: ast.AST, file: str) -> Iterator[tuple[Use, Place]]:
    if isinstance(node, ast.Call):
        called = last_name(node.func)
        if called in _PUBLISH | _DECORATORS:
            yield from _options(node.keywords, file, called, delays=called in _PUBLISH)
        elif called == "register" and _of_kombu(node):
            yield Use.SERIALIZER, Place(file, node.lineno, "serialization.register", _text(node.args[0]))
    elif isinstance(node, ast.ClassDef):
        yield from _class(node, file)
    elif isinstance(node, ast.AsyncFunctionDef):
        decorators = [last_name(getattr(each, "func", each)) for each in node.decorator_list]
        if _DECORATORS & {*decorators}:
            yield Use.COROUTINE, Place(file, node.lineno, node.name)


def _options(
    keywords: Sequence[ast.keyword], file: str, called: str, *, delays: bool
) -> Iterator[tuple[Use, Place]]:
    for keyword in keywords:
        name, value = keyword.arg, keyword.value
        if name is None or _is(value, None):
            continue
        use = _use_of(name, value, delays=delays)
        if use is not None:
            yield use, Place(file, value.lineno, f"{called}({name}={_shown(value)})", _text(value))


def _use_of(name: str, value: ast.AST, *, delays: bool = False) -> Use | None:
    """What an option, or an attribute of a task class, is a use of."""
    if name in ("eta", "countdown"):
        return Use.DELAY if delays else None
    if name == "priority":
        return None if isinstance(value, ast.Constant) and isinstance(value.value, str) else Use.PRIORITY
    if name == "serializer":
        return None if _is(value, "json") else Use.SERIALIZER
    fitting = {
        "queue": Use.QUEUE,
        "exchange": Use.EXCHANGE,
        "routing_key": Use.EXCHANGE,
        "base": Use.TASK_CLASS,
        "Request": Use.REQUEST,
        "acks_late": Use.EARLY if _is(value, False) else None,
        "max_retries": Use.ONCE if _is(value, 0) else None,
    }
    return fitting.get(name)


def _class(node: ast.ClassDef, file: str) -> Iterator[tuple[Use, Place]]:
    bases = [last_name(base) for base in node.bases]
    if any(base.endswith("Task") for base in bases) and not any("TestCase" in base for base in bases):
        yield Use.TASK_CLASS, Place(file, node.lineno, f"class {node.name}")
        for statement in node.body:
            targets = statement.targets if isinstance(statement, ast.Assign) else ()
            for name in (target.id for target in targets if isinstance(target, ast.Name)):
                assert isinstance(statement, ast.Assign)
                value = statement.value
                if not _is(value, None) and (use := _use_of(name, value)) is not None:
                    what = f"{node.name}.{name} = {_shown(value)}"
                    yield use, Place(file, statement.lineno, what, _text(value))
    elif "Request" in bases and any(isinstance(each, ast.FunctionDef) for each in node.body):
        names = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
        if any(name.startswith("on_") for name in names):  # the web frameworks have classes of that name
            yield Use.REQUEST, Place(file, node.lineno, f"class {node.name}")


def _of_kombu(node: ast.Call) -> bool:
    """Whether it registers a serializer: a name, what encodes and what decodes."""
    named = {keyword.arg for keyword in node.keywords}
    return bool(node.args) and "content_type" in named and bool(_text(node.args[0]))


def last_name(function: ast.AST) -> str:
    """The last name of what is called."""
    return str(getattr(function, "attr", None) or getattr(function, "id", ""))


def _is(value: ast.AST, wanted: object) -> bool:
    return isinstance(value, ast.Constant) and value.value == wanted and type(value.value) is type(wanted)


def _text(value: ast.AST) -> str:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _shown(value: ast.AST) -> str:
    """A plain value; of an expression nothing is told."""
    return repr(value.value) if isinstance(value, ast.Constant) else last_name(value) or "…"
