"""Pause a queue or a task, and let it go on; what the pages say of it."""

from __future__ import annotations

from starlette.responses import Response

from celeriac.console.page_request import PageRequest
from celeriac.errors import BadArgument
from celeriac.operate import pauses
from celeriac.operate.actions import Actor, Via
from celeriac.operate.pauses import PauseKind, PauseRow


def paused(ask: PageRequest) -> list[PauseRow]:
    """What is paused. It is read for each page: after a pause the next one must show it."""
    return pauses.paused(app=ask.app)


def act(ask: PageRequest) -> Response:
    """Pause or resume what the form names."""
    kind, name, action = _kind(ask.given("kind")), ask.given("name"), ask.given("action")
    actor, app = Actor(ask.visitor.name, Via.CONSOLE), ask.console.app
    if action not in _ACTIONS:
        raise BadArgument("action", f"wanted pause or resume, found {action[:80]!r}")
    done = _ACTIONS[action](kind, name, actor=actor, reason=ask.given("reason"), app=app)
    back = ask.url("/queues" if kind is PauseKind.QUEUE else f"/tasks/{name}")
    return ask.go(back, saying=_SAID[action, bool(done)].format(f"the {kind} {name}"))


_ACTIONS = {"pause": pauses.pause, "resume": pauses.resume}
_SAID = {
    ("pause", True): "{} is paused: its jobs stop to start within two seconds",
    ("pause", False): "{} was paused before",
    ("resume", True): "{} goes on",
    ("resume", False): "{} is not paused",
}


def _kind(text: str) -> PauseKind:
    if text not in list(PauseKind):
        raise BadArgument("kind", f"wanted queue or task, found {text[:80]!r}")
    return PauseKind(text)
