"""``jobs enqueue``: enqueue one job, in the same way as any other."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.errors import BadArgument
from celeriac.operate.actions import Actor, record


def enqueue(
    ctx: click.Context,
    app: Celeriac,
    task: str,
    *,
    args: Sequence[Any],
    kwargs: Sequence[str],
    json_file: Path | None,
    queue: str | None,
    priority: int | None,
    countdown: float | None,
    user: str | None,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    given, named = _from_file(json_file) if json_file else ([], {})
    options = {
        "queue": queue,
        "priority": priority,
        "countdown": countdown,
        "user_id": user,
        "idempotency_key": idempotency_key,
    }
    chosen = {name: value for name, value in options.items() if value is not None}
    id = app.enqueue_by_name(task, [*given, *args], {**named, **_named(kwargs)}, **chosen)
    by = Actor.at_the_terminal()
    record("enqueue", who=by.who, via=by.via, subject=f"{task} {id}", job_id=id, app=app)
    if as_json:
        output.emit("jobs enqueue", id=id, task=task)
    else:
        click.echo(id)


def _named(texts: Sequence[str]) -> dict[str, Any]:
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise BadArgument("--kwarg", f"wanted NAME=JSON, found {text[:80]!r}")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError) as exc:
            hint = "a text needs its quotes: name='\"like this\"'"
            raise BadArgument("--kwarg", f"the value of {name} is no JSON: {exc}; {hint}") from None
    return found


def _from_file(path: Path) -> tuple[list[Any], Mapping[str, Any]]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        body = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise BadArgument("--json-file", f"no JSON: {exc}") from None
    if not isinstance(body, dict) or not body.keys() <= {"args", "kwargs"}:
        raise BadArgument("--json-file", 'wanted {"args": […], "kwargs": {…}}')
    args, kwargs = body.get("args", []), body.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise BadArgument("--json-file", "wanted args as an array and kwargs as an object")
    return args, kwargs
