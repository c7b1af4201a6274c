"""What the API does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from celeriac import schedules
from celeriac.console.access.roles import Role
from celeriac.console.access.visitor import Visitor
from celeriac.console.api.bodies import Cancel, Move, NewJob, NewSchedule, Reason, Replay
from celeriac.console.api.problems import problem
from celeriac.console.api.routing import ApiRoute, Refusal, console_of, visitor
from celeriac.console.changes import log_action, log_change
from celeriac.errors import BadArgument
from celeriac.ledger.writes.cancel import Answer
from celeriac.operate import dead_letters
from celeriac.operate.acting import moving, one_job, operations
from celeriac.operate.acting.operations import Plan
from celeriac.operate.acting.selection import Selection
from celeriac.operate.actions import Actor, Via, record
from celeriac.operate.dead_letters import Cause
from celeriac.operate.job import job
from celeriac.operate.presentation.action_shapes import operation_shape
from celeriac.operate.presentation.shapes import plain, schedule_shape
from celeriac.operate.presentation.timeline import shown_values

if TYPE_CHECKING:
    from celeriac.application import Celeriac

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
    app = console_of(request).app
    try:
        id = app.enqueue_by_name(body.task, body.args, body.kwargs, **options)
    except BadArgument as exc:
        raise _of_the_body(exc, body.task) from None
    if "idempotency_key" in options:
        _check_same(app, id, body)
    record("enqueue", who=who.name, via=Via.API, subject=f"{body.task} {id}", job_id=id, app=app)
    log_change(who.name, f"enqueued {body.task}, job", id)
    response.headers["Location"] = f"{request.url.path}/{id}"
    return {"id": id, "task": body.task}


def _of_the_body(error: BadArgument, name: str) -> BadArgument:
    """What does not fit the task's signature is in the field ``args`` here."""
    return BadArgument("args", error.args[1]) if error.name == name else error


def _check_same(app: Celeriac, id: str, body: NewJob) -> None:
    """A key that is there already names the same job, and not another one."""
    found = job(id, app=app)
    values = shown_values(app, found, reveal=True)
    if values["args"] is None:
        return
    if (found.task, values["args"], values["kwargs"]) != (body.task, body.args, body.kwargs):
        sentence = f"this key is that of job {id}, which has another task or other arguments"
        raise Refusal(problem(422, "this request is not valid", sentence, field="Idempotency-Key"))


@router.post("/jobs/{id}/cancel")
def cancel_job(request: Request, id: str, who: Operator, body: Cancel | None = None) -> dict[str, Any]:
    """Cancel a job for ever; a running one is asked to stop.

    `answer` is `cancelled`, `requested` (it runs, and was asked to stop), `already cancelled`, or `finished`:
    it had ended before, and stays as it is.
    """
    given = body or Cancel()
    app = console_of(request).app
    answer = one_job.cancel(id, by=actor(who), hard=given.hard, reason=given.reason, app=app)
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
    try:
        done = one_job.replay(
            id, by=actor(who), args=given.args, kwargs=given.kwargs, reason=given.reason, app=app
        )
    except BadArgument as exc:
        raise _of_the_body(exc, "arguments") from None
    if not done:
        raise Refusal(problem(409, "it cannot be done now", f"job {id} is {found.state}, and no dead letter"))
    log_change(who.name, "replayed", id)
    return {"id": id, "state": "pending"}


@router.post("/jobs/{id}/run-now")
def run_job_now(request: Request, id: str, who: Operator, body: Reason | None = None) -> dict[str, Any]:
    """Make a waiting job due at once."""
    return _done(request, "run-now", id, who, reason=(body or Reason()).reason)


@router.post("/jobs/{id}/move")
def move_job(request: Request, id: str, who: Operator, body: Move) -> dict[str, Any]:
    """Give a waiting job another queue, another priority, or both."""
    options = moving.checked(console_of(request).app, body.queue, body.priority)
    return _done(request, "move", id, who, reason=body.reason, options=options)


@router.post("/jobs/{id}/discard")
def discard_job(request: Request, id: str, who: Operator, body: Reason | None = None) -> dict[str, Any]:
    """Delete a dead letter with its history."""
    return _done(request, "discard", id, who, reason=(body or Reason()).reason)


@router.post("/jobs/{id}/clone", status_code=201)
def clone_job(request: Request, id: str, who: Operator) -> dict[str, Any]:
    """Enqueue a new job with the same arguments."""
    made = one_job.clone(id, by=actor(who), app=console_of(request).app)
    log_change(who.name, "cloned", id)
    return {"id": made, "of": id}


def _done(request: Request, action: str, id: str, who: Visitor, **how: Any) -> dict[str, Any]:
    app = console_of(request).app
    found = job(id, app=app)
    if not one_job.act(action, id, by=actor(who), app=app, **how):
        sentence = f"job {id} is {found.state}: {action} does not change it"
        raise Refusal(problem(409, "it cannot be done now", sentence))
    log_change(who.name, action, id)
    return {"id": id, "action": action}


@router.post("/dead-letters/{key}/replay", status_code=202)
def replay_group(
    request: Request,
    key: str,
    who: Operator,
    rate: Annotated[float | None, Query(ge=0.1, le=1e6)] = None,
    canary: bool = False,
    body: Reason | None = None,
) -> dict[str, Any]:
    """Replay a group in batches, at most `rate` jobs a second. The answer is an operation to be watched.

    With `canary`, five jobs go first, and the rest only while at least 95 % of what ended lately succeeded.
    """
    console = console_of(request)
    cause: Cause = dead_letters.cause_of(key, app=console.reader)
    selection = operations.settled(Selection(causes=(cause,)), app=console.reader)
    count = operations.count("replay", selection, app=console.reader)
    plan = Plan(action="replay", selection=selection, subject=f"group {key}", rate=rate, canary=canary)
    reason = (body or Reason()).reason
    id = operations.begin(plan, by=actor(who), counted=count, reason=reason, app=console.app)
    log_action(who.name, "replay", f"group {key}", jobs=count)
    console.runner.wake()
    return _operation(request, id)


@router.post("/operations/{id}/stop")
def stop_operation(request: Request, id: str, who: Operator) -> dict[str, Any]:
    """Stop an action on many jobs; the batch that it is at is still done."""
    found = _operation(request, id)
    operations.stop(found["id"], by=actor(who), app=console_of(request).app)
    log_change(who.name, "stopped", id)
    return _operation(request, id)


def _operation(request: Request, id: str) -> dict[str, Any]:
    found = operations.find(id, app=console_of(request).app)
    if found is None:
        raise Refusal(problem(404, "there is no such thing", f"no operation has the id {id[:80]!r}"))
    return operation_shape(found)


def actor(who: Visitor) -> Actor:
    """Who is on record for what the API does."""
    return Actor(who.name, Via.API)


@router.put("/schedules/{name:path}")
def put_schedule(request: Request, name: str, body: NewSchedule, who: Admin) -> dict[str, Any]:
    """Register a schedule, or change the one of that name, which keeps its history."""
    fields = body.model_dump(exclude_none=True)
    app = console_of(request).app
    app.loader.import_default_modules()
    made = schedules.register(
        name, fields.pop("task"), also=actor(who).noting("schedule add", name), app=app, **fields
    )
    log_change(who.name, "registered", name)
    return {"schedule": plain(schedule_shape(made))}


@router.delete("/schedules/{name:path}", status_code=204)
def remove_schedule(request: Request, name: str, who: Admin) -> None:
    """Remove a schedule; the jobs that it made stay."""
    schedules.unregister(name, also=actor(who).noting("schedule remove", name), app=console_of(request).app)
    log_change(who.name, "removed", name)


@router.post("/schedules/{name:path}/run", status_code=201)
def run_schedule(request: Request, name: str, who: Operator) -> dict[str, Any]:
    """Make a job of a schedule at once."""
    id = schedules.run_now(name, also=actor(who).noting("schedule run", name), app=console_of(request).app)
    log_change(who.name, "runs now", name)
    return {"id": id}


@router.post("/schedules/{name:path}/enable")
def enable_schedule(request: Request, name: str, who: Operator) -> dict[str, Any]:
    """Let a schedule fire again, from its next due time on."""
    found = schedules.enable(
        name, also=actor(who).noting("schedule enable", name), app=console_of(request).app
    )
    log_change(who.name, "enabled", name)
    return {"schedule": plain(schedule_shape(found))}


@router.post("/schedules/{name:path}/disable")
def disable_schedule(request: Request, name: str, who: Operator) -> dict[str, Any]:
    """Let a schedule fire no more until it is enabled."""
    found = schedules.disable(
        name, also=actor(who).noting("schedule disable", name), app=console_of(request).app
    )
    log_change(who.name, "disabled", name)
    return {"schedule": plain(schedule_shape(found))}
