"""What the API tells of limits and their circuit breakers, and does about them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from celeriac.console.access.roles import Role
from celeriac.console.access.visitor import Visitor
from celeriac.console.api.bodies import Reason
from celeriac.console.api.problems import problem
from celeriac.console.api.routing import ApiRoute, Refusal, console_of, visitor
from celeriac.console.changes import log_change
from celeriac.limits.breaker import BreakerState
from celeriac.operate import limits
from celeriac.operate.actions import Actor, Via
from celeriac.operate.presentation.shapes import plain

router = APIRouter(route_class=ApiRoute)

Viewer = Annotated[Visitor, visitor(Role.VIEWER)]
Operator = Annotated[Visitor, visitor(Role.OPERATOR)]


class Numbers(Reason):
    """What a limit allows; what is left out stays."""

    concurrency: Annotated[int, Field(ge=1, le=999_999_999)] | None = None  # at once
    rate: Annotated[str, Field(min_length=1, max_length=40)] | None = None  # starts in a time, as 100/m


class Switch(Reason):
    """How a breaker is to be; `auto`: it judges by itself again."""

    state: Literal["open", "closed", "auto"]


@router.get("/limits")
def list_limits(request: Request, _: Viewer) -> dict[str, Any]:
    """Each limit: what runs, is on its way and waits, by key; who set or paused it; its breaker."""
    return {"limits": [plain(each) for each in limits.limits(app=console_of(request).reader)]}


@router.post("/limits/{name:path}/set")
def set_limit(request: Request, name: str, who: Operator, body: Numbers) -> dict[str, Any]:
    """Give a limit other numbers than the code says, until `unset`."""
    limits.set_limit(
        name,
        concurrency=body.concurrency,
        rate=body.rate,
        reason=body.reason,
        actor=Actor(who.name, Via.API),
        app=console_of(request).app,
    )
    return _changed(request, "set", name, who)


@router.post("/limits/{name:path}/unset")
def unset_limit(request: Request, name: str, who: Operator, body: Reason | None = None) -> dict[str, Any]:
    """Give a limit back to the code."""
    limits.unset_limit(name, **_how(request, who, body))
    return _changed(request, "unset", name, who)


@router.post("/limits/{name:path}/pause")
def pause_limit(request: Request, name: str, who: Operator, body: Reason | None = None) -> dict[str, Any]:
    """Let no more jobs of a limit start, on any worker, until it is resumed."""
    limits.pause_limit(name, **_how(request, who, body))
    return _changed(request, "pause", name, who)


@router.post("/limits/{name:path}/resume")
def resume_limit(request: Request, name: str, who: Operator, body: Reason | None = None) -> dict[str, Any]:
    """Let jobs of a limit start again."""
    if not limits.resume_limit(name, **_how(request, who, body)):
        raise Refusal(problem(409, "it cannot be done now", f"the limit {name[:80]!r} is not paused"))
    return _changed(request, "resume", name, who)


@router.post("/limits/{name:path}/breaker")
def switch_breaker(request: Request, name: str, who: Operator, body: Switch) -> dict[str, Any]:
    """Open or close the breaker of a limit, whatever fails; `auto` lets it judge by itself again."""
    to = None if body.state == "auto" else BreakerState(body.state)
    limits.switch_breaker(name, to, **_how(request, who, body))
    return _changed(request, f"breaker {body.state}", name, who)


def _how(request: Request, who: Visitor, body: Reason | None) -> dict[str, Any]:
    reason = body.reason if body else None
    return {"actor": Actor(who.name, Via.API), "reason": reason, "app": console_of(request).app}


def _changed(request: Request, action: str, name: str, who: Visitor) -> dict[str, Any]:
    log_change(who.name, f"{action} limit", name)
    return {"limit": plain(limits.limit(name, app=console_of(request).app))}
