"""What the API does about alerts: mute a group of failures, and try whether messages arrive."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Request

from celeriac.console.access.roles import Role
from celeriac.console.access.visitor import Visitor
from celeriac.console.api.bodies import Mute, Reason
from celeriac.console.api.problems import problem
from celeriac.console.api.routing import ApiRoute, Refusal, console_of, visitor
from celeriac.console.changes import log_change
from celeriac.operate.actions import Actor, Via
from celeriac.operate.alerts import mutes, trial
from celeriac.operate.presentation.shapes import mute_shape, plain

router = APIRouter(route_class=ApiRoute)

Operator = Annotated[Visitor, visitor(Role.OPERATOR)]


@router.post("/dead-letters/{key}/mute")
def mute_group(request: Request, key: str, who: Operator, body: Mute | None = None) -> dict[str, Any]:
    """Show a group apart and tell nobody of it: for some seconds, until it has doubled, or until `unmute`."""
    given = body or Mute()
    lasts = None if given.seconds is None else timedelta(seconds=given.seconds)
    actor, app = Actor(who.name, Via.API), console_of(request).app
    made = mutes.mute(key, lasts=lasts, actor=actor, reason=given.reason, app=app)
    log_change(who.name, "muted group", made.key)
    return {"key": made.key, "muted": mute_shape(made)}


@router.post("/dead-letters/{key}/unmute")
def unmute_group(request: Request, key: str, who: Operator, body: Reason | None = None) -> dict[str, Any]:
    """End a mute."""
    actor, reason = Actor(who.name, Via.API), (body or Reason()).reason
    if not mutes.unmute(key, actor=actor, reason=reason, app=console_of(request).app):
        raise Refusal(problem(409, "it cannot be done now", f"group {key[:80]!r} is not muted"))
    log_change(who.name, "unmuted group", key)
    return {"key": key.lower(), "muted": None}


@router.post("/alerts/test", status_code=202)
def test_alerts(request: Request, who: Operator) -> dict[str, Any]:
    """Send a message to every receiver of alerts, by a worker. The job's end says whether it was taken."""
    sent = trial.send(actor=Actor(who.name, Via.API), app=console_of(request).app)
    log_change(who.name, "tested", "alerts")
    return {"sent": plain(sent)}
