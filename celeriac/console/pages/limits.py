"""The page of limits: what is in use and what waits; pause, resume, set."""

from __future__ import annotations

from starlette.responses import Response

from celeriac.console.changes import log_change
from celeriac.console.page_request import PageRequest
from celeriac.errors import BadArgument
from celeriac.limits.breaker import BreakerState
from celeriac.operate import limits
from celeriac.operate.presentation.shapes import plain


def show(ask: PageRequest) -> Response:
    found = limits.limits(app=ask.app)
    return ask.show(
        "limits.html",
        command="limits",
        told={"limits": [plain(each) for each in found]},
        limits=found,
        words=limits.breaker_words,
        most=limits.MOST,
    )


def act(ask: PageRequest) -> Response:
    """Do what the form says to the limit that it names."""
    name, action = ask.given("name"), ask.given("action")
    actor, app, reason = ask.actor, ask.console.app, ask.given("reason") or None
    said = f"the limit {name} is changed"
    if action == "pause":
        limits.pause_limit(name, actor=actor, reason=reason, app=app)
        said = f"the limit {name} is paused"
    elif action == "resume":
        limits.resume_limit(name, actor=actor, reason=reason, app=app)
        said = f"the limit {name} goes on"
    elif action == "set":
        concurrency, rate = _number(ask.given("concurrency")), ask.given("rate").strip() or None
        limits.set_limit(name, actor=actor, concurrency=concurrency, rate=rate, reason=reason, app=app)
    elif action == "unset":
        limits.unset_limit(name, actor=actor, reason=reason, app=app)
    elif action in ("breaker open", "breaker closed", "breaker auto"):
        to = action.removeprefix("breaker ")
        wanted = None if to == "auto" else BreakerState(to)
        limits.switch_breaker(name, wanted, actor=actor, reason=reason, app=app)
        said = f"the breaker of {name} {'judges again' if wanted is None else f'is {to}, whatever fails'}"
    else:
        raise BadArgument("action", f"wanted pause, resume, set, unset or breaker …, found {action[:80]!r}")
    log_change(ask.visitor.name, f"{action} limit", name)
    return ask.go(ask.url("/limits"), saying=said)


def _number(text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 9:
        raise BadArgument("concurrency", f"wanted a whole number, found {text[:80]!r}")
    return int(text)
