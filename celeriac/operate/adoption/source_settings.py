"""Celery's settings as they stand in source files, where their values are plain."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from celery.app.defaults import SETTING_KEYS

#: Arguments of Celery's constructor, by the setting that each is.
_ARGUMENTS = {"broker": "broker_url", "backend": "result_backend"}

#: Beginnings of settings that are unmistakable in capitals without a namespace.
_PLAIN = ("broker_", "result_", "task_", "worker_", "beat_", "accept_content")

#: Names that ordinary modules have, too: settings where the module has others.
_COMMON = frozenset({"timezone", "include", "imports"})


def settings_in(tree: ast.Module) -> dict[str, Any]:
    """The settings that a module gives plain values, by their names of today."""
    found: dict[str, Any] = {}
    for written, value in _given(tree):
        name = _setting(written)
        if name is None:
            continue
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue  # made by a call: nothing can be said of it
    return found if found.keys() - _COMMON else {}


def _given(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names with values: of modules and classes, of ``conf``, of the constructor, of dicts of settings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef):
            yield from _assigned(node.body)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if name := _of_conf(target):
                    yield name, node.value
                if _is_celerys(target):
                    yield from _entries(node.value)
        elif isinstance(node, ast.Call) and _configures(node):
            for keyword in node.keywords:
                if keyword.arg is not None:
                    yield _ARGUMENTS.get(keyword.arg, keyword.arg), keyword.value
            for argument in node.args:
                yield from _entries(argument)


def _assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        if isinstance(node, ast.Assign):
            for name in (target.id for target in node.targets if isinstance(target, ast.Name)):
                yield name, node.value
                if "CELERY" in name.upper():
                    yield from _entries(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def _entries(written: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(written, ast.Dict):
        for key, value in zip(written.keys, written.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, value


def _of_conf(target: ast.expr) -> str:
    """``x`` of ``app.conf.x = …`` and ``conf["x"] = …``."""
    if isinstance(target, ast.Attribute) and _last_name(target.value) == "conf":
        return target.attr
    if isinstance(target, ast.Subscript) and _last_name(target.value) == "conf":
        return str(getattr(target.slice, "value", ""))
    return ""


def _is_celerys(target: ast.expr) -> bool:
    """Whether it is ``config["CELERY"]``, as Flask's documentation has it."""
    return isinstance(target, ast.Subscript) and getattr(target.slice, "value", None) == "CELERY"


def _configures(call: ast.Call) -> bool:
    if _last_name(call.func) == "Celery":
        return True
    owner = getattr(call.func, "value", None)
    return _last_name(call.func) == "update" and owner is not None and _last_name(owner) == "conf"


def _last_name(node: ast.expr) -> str:
    return str(getattr(node, "attr", None) or getattr(node, "id", ""))


def _setting(written: str) -> str | None:
    """The setting that is meant; None: it is none. ``CELERY_`` is the usual namespace."""
    lower = written.lower()
    if lower.startswith("redbeat_"):
        return lower
    if lower in SETTING_KEYS:
        return lower if written == lower or lower.startswith(_PLAIN) else None
    short = lower.removeprefix("celery_")
    return short if short in SETTING_KEYS and written.isupper() else None
