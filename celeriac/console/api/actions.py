"""What the API does."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from celeriac import schedules
from celeriac.console.access.roles import Role
from celeriac.console.access.visitor import Visitor
from celeriac.console.api.bodies import Cancel, NewJob, NewSchedule, Replay
from celeriac.console.api.problems import problem
from celeriac.console.api.routing import ApiRoute, Refusal, console_of, visitor
from celeriac.console.operations import Operation, log_change
from celeriac.ledger.writes.cancel import Answer
from celeriac.operate import dead_letters
from celeriac.operate.dead_letters import Cause
from celeriac.operate.job import cancel, job
from celeriac.operate.presentation.shapes import plain, schedule_shape

router = APIRouter(route_class=ApiRoute)

Operator = Annotated[Visitor, visitor(Role.OPERATOR)]
Admin = Annotated[Visitor, visitor(Role.ADMIN)]


@router.post("/jobs", status_code=201)
def enqueue(
    request: Request,
    response: Response,
    body: NewJob,
    who: Operator,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> dict[str, Any]:
    """Enqueue a job. With a key, the same call again names the same job."""
    options = body.model_dump(exclude={"task", "args", "kwargs"}, exclude_none=True)
    if idempotency_key is not None:
        options.setdefault("idempotency_key", idempotency_key)
    id = console_of(request).app.enqueue_by_name(body.task, body.args, body.kwargs, **options)
    log_change(who.name, f"enqueued {body.task}, job", id)
    response.headers["Location"] = f"{request.url.path}/{id}"
    return {"id": id, "task": body.task}


@router.post("/jobs/{id}/cancel")
def cancel_job(request: Request, id: str, who: Operator, body: Cancel | None = None) -> dict[str, Any]:
    """Cancel a job for ever; a running one is asked to stop."""
    hard = body is not None and body.hard
    answer = cancel(id, hard=hard, app=console_of(request).app)
    if answer is Answer.UNKNOWN:
        raise Refusal(problem(404, "there is no such thing", f"the ledger has no job {id[:80]!r}"))
    log_change(who.name, "cancelled", id)
    return {"id": id, "answer": str(answer)}


@router.post("/jobs/{id}/replay")
def replay_job(request: Request, id: str, who: Operator, body: Replay | None = None) -> dict[str, Any]:
    """Set a dead letter back to pending, with fresh tries and its history."""
    app, given = console_of(request).app, body or Replay()
    found = job(id, app=app)
    app.loader.import_default_modules()  # other arguments are checked against the task
    if not dead_letters.replay_one(id, args=given.args, kwargs=given.kwargs, app=app):
        raise Refusal(problem(409, "it cannot be done now", f"job {id} is {found.state}, and no dead letter"))
    log_change(who.name, "replayed", id)
    return {"id": id, "state": "pending"}


@router.post("/dead-letters/{key}/replay", status_code=202)
def replay_group(
    request: Request, key: str, who: Operator, rate: Annotated[float | None, Query(ge=0.1, le=1e6)] = None
) -> dict[str, Any]:
    """Replay a group in batches, at most `rate` jobs a second. The answer is an operation to be watched."""
    console = console_of(request)
    cause: Cause = dead_letters.cause_of(key, app=console.reader)
    count = dead_letters.replay(cause, dry_run=True, app=console.reader)
    operation = Operation(who=who.name, what="replay", which=f"group {key}", total=count, back=f"/dead/{key}")

    def act(progress: Any) -> int:
        return dead_letters.replay(cause, rate=rate, progress=progress, app=console.app)

    return dict(plain(console.operations.start(operation, act).shape()))


@router.post("/operations/{id}/stop")
def stop_operation(request: Request, id: str, who: Operator) -> dict[str, Any]:
    """Stop an action on many jobs; the batch that it is at is still done."""
    found = console_of(request).operations.find(id)
    if found is None:
        raise Refusal(problem(404, "there is no such thing", f"no operation has the id {id[:80]!r}"))
    found.stopping = True
    log_change(who.name, "stopped", id)
    return dict(plain(found.shape()))


@router.put("/schedules/{name:path}")
def put_schedule(request: Request, name: str, body: NewSchedule, who: Admin) -> dict[str, Any]:
    """Register a schedule, or change the one of that name, which keeps its history."""
    fields = body.model_dump(exclude_none=True)
    app = console_of(request).app
    app.loader.import_default_modules()
    made = schedules.register(name, fields.pop("task"), app=app, **fields)
    log_change(who.name, "registered", name)
    return {"schedule": plain(schedule_shape(made))}


@router.delete("/schedules/{name:path}", status_code=204)
def remove_schedule(request: Request, name: str, who: Admin) -> None:
    """Remove a schedule; the jobs that it made stay."""
    schedules.unregister(name, app=console_of(request).app)
    log_change(who.name, "removed", name)


@router.post("/schedules/{name:path}/run", status_code=201)
def run_schedule(request: Request, name: str, who: Operator) -> dict[str, Any]:
    """Make a job of a schedule at once."""
    id = schedules.run_now(name, app=console_of(request).app)
    log_change(who.name, "runs now", name)
    return {"id": id}


@router.post("/schedules/{name:path}/enable")
def enable_schedule(request: Request, name: str, who: Operator) -> dict[str, Any]:
    """Let a schedule fire again, from its next due time on."""
    found = schedules.enable(name, app=console_of(request).app)
    log_change(who.name, "enabled", name)
    return {"schedule": plain(schedule_shape(found))}


@router.post("/schedules/{name:path}/disable")
def disable_schedule(request: Request, name: str, who: Operator) -> dict[str, Any]:
    """Let a schedule fire no more until it is enabled."""
    found = schedules.disable(name, app=console_of(request).app)
    log_change(who.name, "disabled", name)
    return {"schedule": plain(schedule_shape(found))}
