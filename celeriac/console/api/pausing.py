"""What the API tells of paused queues and tasks, and does about them; a worker is drained."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request

from celeriac.console.access.roles import Role
from celeriac.console.access.visitor import Visitor
from celeriac.console.api.bodies import Reason
from celeriac.console.api.problems import problem
from celeriac.console.api.routing import ApiRoute, Refusal, console_of, visitor
from celeriac.operate import pauses
from celeriac.operate.acting import draining
from celeriac.operate.actions import Actor, Via
from celeriac.operate.pauses import PauseKind
from celeriac.operate.presentation.shapes import plain

router = APIRouter(route_class=ApiRoute)

Viewer = Annotated[Visitor, visitor(Role.VIEWER)]
Operator = Annotated[Visitor, visitor(Role.OPERATOR)]


@router.get("/pauses")
def list_pauses(request: Request, _: Viewer) -> dict[str, Any]:
    """What is paused, by whom, since when and why."""
    return {"paused": plain(pauses.paused(app=console_of(request).reader))}


@router.post("/queues/{name}/pause")
def pause_queue(request: Request, name: str, who: Operator, body: Reason | None = None) -> dict[str, Any]:
    """Let no more jobs of a queue start, on any worker, until it is resumed; a lane with its four levels."""
    return _pause(request, PauseKind.QUEUE, name, who, body)


@router.post("/queues/{name}/resume")
def resume_queue(request: Request, name: str, who: Operator, body: Reason | None = None) -> dict[str, Any]:
    """Let jobs of a queue start again."""
    return _resume(request, PauseKind.QUEUE, name, who, body)


@router.post("/tasks/{name:path}/pause")
def pause_task(request: Request, name: str, who: Operator, body: Reason | None = None) -> dict[str, Any]:
    """Let no more jobs of a task start, on any worker, until it is resumed."""
    return _pause(request, PauseKind.TASK, name, who, body)


@router.post("/tasks/{name:path}/resume")
def resume_task(request: Request, name: str, who: Operator, body: Reason | None = None) -> dict[str, Any]:
    """Let jobs of a task start again."""
    return _resume(request, PauseKind.TASK, name, who, body)


@router.post("/workers/{name}/drain")
def drain_worker(request: Request, name: str, who: Operator, body: Reason | None = None) -> dict[str, Any]:
    """Let a worker draw nothing more, until it is started anew. What it has goes on."""
    app, given = console_of(request).app, body or Reason()
    queues = draining.drain(name, actor=Actor(who.name, Via.API), reason=given.reason, app=app)
    return {"name": name, "queues": queues}


def _pause(request: Request, kind: PauseKind, name: str, who: Visitor, body: Reason | None) -> dict[str, Any]:
    app, given = console_of(request).app, body or Reason()
    made = pauses.pause(kind, name, actor=Actor(who.name, Via.API), reason=given.reason, app=app)
    rows = [row for row in pauses.paused(app=app) if row.kind is kind]
    return {"name": name, "names": made, "paused": plain(rows)}


def _resume(
    request: Request, kind: PauseKind, name: str, who: Visitor, body: Reason | None
) -> dict[str, Any]:
    app, given = console_of(request).app, body or Reason()
    ended = pauses.resume(kind, name, actor=Actor(who.name, Via.API), reason=given.reason, app=app)
    if not ended:
        raise Refusal(problem(409, "it cannot be done now", f"the {kind} {name[:80]!r} is not paused"))
    return {"name": name, "names": ended}
