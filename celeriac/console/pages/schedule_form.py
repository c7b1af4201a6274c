"""The form of a schedule: a new one, or a change of one; with its next runs before it is registered."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from celeriac import schedules as registry
from celeriac.console.changes import log_change
from celeriac.console.page_request import PageRequest
from celeriac.console.trees import with_hidden
from celeriac.enqueue.arguments import hidden
from celeriac.errors import BadArgument, InvalidSchedule
from celeriac.operate.presentation.shapes import plain
from celeriac.operate.schedule_preview import preview
from celeriac.priorities import parse
from celeriac.schedules import Schedule

_RUNS = 5
_KINDS = {"interval": "every", "cron": "cron", "once": "at"}
_TIMING = ("timezone", "start", "end")


def show(ask: PageRequest) -> Response:
    """The form, filled with the schedule that the query names."""
    name = ask.query.get("name")
    return _form(ask, _fields_of(registry.get(name, app=ask.app)) if name else {})


def add(ask: PageRequest) -> Response:
    """Register the schedule; with ``preview`` only show when it would run."""
    fields = {name: values[-1].strip() for name, values in ask.form.items()}
    try:
        if fields.get("preview"):
            timing = _timing(fields) | _given(fields, _TIMING)
            return _form(ask, fields, runs=preview(timing, n=_RUNS, app=ask.app))
        made = _registered(ask, fields)
    except (InvalidSchedule, BadArgument) as exc:
        return _form(ask, fields, wrong=str(exc))
    log_change(ask.visitor.name, "registered", made.name)
    return ask.go(ask.url(f"/schedules/{made.name}"), saying=f"{made.name} is registered")


def _registered(ask: PageRequest, fields: Mapping[str, str]) -> Schedule:
    old = registry.get(fields["old"], app=ask.app) if fields.get("old") else None
    return registry.register(
        fields.get("name", ""),
        fields.get("task", ""),
        args=with_hidden(_json(fields, "args", list), None if old is None else list(old.args)),
        kwargs=with_hidden(_json(fields, "kwargs", dict), None if old is None else dict(old.kwargs)),
        also=ask.actor.noting("schedule change" if old else "schedule add", fields.get("name", "")),
        app=ask.console.app,
        **_timing(fields),
        **_given(fields, tuple(_READ)),
    )


def _form(ask: PageRequest, fields: Mapping[str, str], *, runs: Any = None, wrong: str = "") -> Response:
    ask.app.loader.import_default_modules()
    return ask.show(
        "schedule_form.html",
        command="schedules add --help",
        told={"runs": plain(runs or []), "wrong": wrong or None},
        status=400 if wrong else 200,
        fields=fields,
        zone=ask.app.timezone,
        tasks=sorted(name for name in ask.app.tasks if not name.startswith("celery.")),
        more=[name for name in _READ if name not in _SHOWN_FIRST],
        runs=runs,
        wrong=wrong,
    )


def _fields_of(old: Schedule) -> dict[str, str]:
    values: dict[str, Any] = {
        **old.options,
        "start": old.starts.isoformat() if old.starts else None,
        "end": old.ends.isoformat() if old.ends else None,
        "timezone": old.timezone,
        "catch_up": old.catch_up,
        "catch_up_limit": old.catch_up_limit,
        "overlap": old.overlap,
        "jitter": old.jitter or None,
    }
    return {
        "old": old.name,
        "name": old.name,
        "task": old.task,
        "kind": _KINDS[str(old.kind)],
        "when": old.expression,
        "args": json.dumps(plain(hidden(list(old.args)))),
        "kwargs": json.dumps(plain(hidden(dict(old.kwargs)))),
        **{name: str(value) for name, value in values.items() if value is not None},
    }


def _timing(fields: Mapping[str, str]) -> dict[str, Any]:
    kind, when = fields.get("kind") or "cron", fields.get("when", "")
    if kind not in _KINDS.values():
        raise BadArgument("kind", f"wanted every, cron or at, found {kind[:80]!r}")
    return {kind: _number("when", when) if kind == "every" else when}


def _given(fields: Mapping[str, str], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _READ[name](name, fields[name]) for name in names if fields.get(name)}


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadArgument(name, f"wanted a number, found {text[:80]!r}") from None


def _whole(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise BadArgument(name, f"wanted a whole number, found {text[:80]!r}")
    return int(text)


def _text(name: str, text: str) -> str:
    return text


def _level(name: str, text: str) -> int:
    return parse(int(text) if text.isdecimal() and len(text) <= 3 else text)


#: The optional fields, and how each is read.
_READ: dict[str, Callable[[str, str], Any]] = {
    "timezone": _text,
    "catch_up": _text,
    "overlap": _text,
    "start": _text,
    "end": _text,
    "priority": _level,
    "queue": _text,
    "user_id": _text,
    "max_tries": _whole,
    "timeout": _number,
    "expires": _number,
    "catch_up_limit": _whole,
    "jitter": _number,
}
_SHOWN_FIRST = ("timezone", "catch_up", "overlap")


def _json(fields: Mapping[str, str], name: str, kind: type) -> Any:
    try:
        found = json.loads(fields.get(name) or ("[]" if kind is list else "{}"))
    except (ValueError, RecursionError) as exc:
        raise BadArgument(name, f"no JSON: {exc}") from None
    if not isinstance(found, kind):
        raise BadArgument(name, f"wanted a JSON {'array' if kind is list else 'object'}")
    return found
