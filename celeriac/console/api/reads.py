"""What the API tells."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from celeriac import schedules
from celeriac.console.access.roles import Role
from celeriac.console.api import description
from celeriac.console.api.problems import problem
from celeriac.console.api.routing import ApiRoute, Refusal, console_of, visitor
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate import dead_letters, doctor, listing, overview
from celeriac.operate.acting import operations
from celeriac.operate.actions import list_actions
from celeriac.operate.alerts import rounds
from celeriac.operate.alerts.mutes import in_force, muted
from celeriac.operate.dead_letters import Cause
from celeriac.operate.explain import explain
from celeriac.operate.history.origins import origins
from celeriac.operate.history.series import series, spread
from celeriac.operate.history.skips import skipped
from celeriac.operate.job import LARGEST_PAGE, PAGE, job
from celeriac.operate.listing import Sort
from celeriac.operate.presentation.action_shapes import action_shape, operation_shape
from celeriac.operate.presentation.attempts import every_attempt
from celeriac.operate.presentation.audit_words import wanted_of
from celeriac.operate.presentation.filter_words import filter_of
from celeriac.operate.presentation.shapes import (
    cause_shape,
    group_shape,
    plain,
    queue_shape,
    schedule_shape,
    worker_shape,
)
from celeriac.operate.presentation.task_stats import by_task
from celeriac.operate.presentation.timeline import shown_values, timeline

router = APIRouter(route_class=ApiRoute, dependencies=[visitor(Role.VIEWER)])

_Word = Annotated[str | None, Query(max_length=255)]
_NEXT_RUNS = 5


@router.get("/health")
def health(request: Request) -> dict[str, Any]:
    """Whether the ledger answers, and who works."""
    workers = overview.list_workers(within=timedelta(minutes=10), app=console_of(request).reader)
    states = [worker.state for worker in workers]
    counts = {state: states.count(state) for state in ("alive", "silent", "stopped")}
    return {"ledger": "ok", "workers": counts}


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """The description of the API, for those who may use it."""
    return description.completed(request.app.openapi(), str(request.scope.get("root_path", "")))


@router.get("/jobs")
def list_jobs(
    request: Request,
    state: JobState | None = None,
    task: _Word = None,
    queue: _Word = None,
    user: _Word = None,
    schedule: _Word = None,
    error: _Word = None,
    worker: _Word = None,
    version: _Word = None,
    since: _Word = None,
    until: _Word = None,
    finished_since: Annotated[str | None, Query(alias="finished-since", max_length=40)] = None,
    finished_until: Annotated[str | None, Query(alias="finished-until", max_length=40)] = None,
    argument: _Word = None,
    id_prefix: Annotated[str | None, Query(alias="id-prefix", max_length=40)] = None,
    sort: Sort = Sort.NEWEST,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
    after: Annotated[str | None, Query(max_length=100, description="`next` of the page before")] = None,
) -> dict[str, Any]:
    """A page of the jobs that match; the words are those of `celery -A app jobs list`.

    A search for an `error` looks at 10,000 failures at once: `looked_at` says so where it ends there. Such a
    page may have no jobs, and has a `next`.
    """
    words = {"state": state, "task": task, "queue": queue, "user": user, "schedule": schedule}
    words |= {"error": error, "worker": worker, "version": version}
    words |= {"since": since, "until": until, "id-prefix": id_prefix}
    words |= {"argument": argument, "finished-since": finished_since, "finished-until": finished_until}
    app = console_of(request).reader
    found = listing.page(
        filter_of(words), sort=sort, limit=limit, after=after, look_at=listing.MOST_SEARCHED, app=app
    )
    return {"jobs": plain(found.jobs), "next": found.next, "looked_at": found.looked_at}


@router.get("/jobs/{id}")
def show_job(request: Request, id: str) -> dict[str, Any]:
    """A job with its attempts. What is sensitive is hidden."""
    app = console_of(request).reader
    found = job(id, app=app)
    attempts = plain(every_attempt(found))
    way = {"attempts": attempts, "timeline": plain(timeline(found))}
    return {**plain(found), **shown_values(app, found), **way}


@router.get("/jobs/{id}/explanation")
def explain_job(request: Request, id: str) -> dict[str, Any]:
    """Why the job does not run, and what to do about it."""
    return dict(plain(explain(id, app=console_of(request).reader)))


@router.get("/dead-letters")
def list_groups(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
    """Dead letters by their cause, the largest group first; `muted` says how one is muted, or is null."""
    app = console_of(request).reader
    found = dead_letters.groups(limit=limit, app=app)
    silent = in_force(muted(app=app), found)
    return {"groups": [group_shape(group, silent) for group in found]}


@router.get("/dead-letters/{key}")
def show_group(
    request: Request, key: str, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> dict[str, Any]:
    """A group of dead letters, with ids of its jobs, and where its newest 200 came from."""
    app = console_of(request).reader
    cause: Cause = dead_letters.cause_of(key, app=app)
    where, ids = origins(cause, app=app), dead_letters.members(cause, limit=limit, app=app)
    counted = {"workers": where.workers, "versions": where.versions, "users": where.users}
    return {"group": cause_shape(cause), "ids": ids, "origins": {**counted, "queues": where.queues}}


@router.get("/operations/{id}")
def show_operation(request: Request, id: str) -> dict[str, Any]:
    """How far an action on many jobs is."""
    found = operations.find(id, app=console_of(request).reader)
    if found is None:
        raise Refusal(problem(404, "there is no such thing", f"no operation has the id {id[:80]!r}"))
    return operation_shape(found)


@router.get("/audit")
def audit(
    request: Request,
    who: _Word = None,
    action: _Word = None,
    job: _Word = None,
    since: _Word = None,
    until: _Word = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
    after: Annotated[str | None, Query(max_length=100, description="`next` of the page before")] = None,
) -> dict[str, Any]:
    """What operators did, the newest first."""
    words = {"who": who, "action": action, "job": job, "since": since, "until": until}
    app = console_of(request).reader
    found = list_actions(**wanted_of(words), limit=limit, after=after, app=app)
    return {"actions": [action_shape(each) for each in found.actions], "next": found.next}


@router.get("/queues")
def list_queues(request: Request) -> dict[str, Any]:
    """Every queue, in the order in which workers draw."""
    found = overview.queues(app=console_of(request).reader)
    return {"window": overview.LATELY.total_seconds(), "queues": [queue_shape(queue) for queue in found]}


@router.get("/workers")
def list_workers(request: Request) -> dict[str, Any]:
    """The workers of which the ledger heard within an hour."""
    return {"workers": [worker_shape(each) for each in overview.list_workers(app=console_of(request).reader)]}


@router.get("/stats")
def stats(request: Request, since: _Word = "1h", task: _Word = None, queue: _Word = None) -> dict[str, Any]:
    """The jobs accepted since then, in numbers, by task."""
    wanted = filter_of({"since": since, "task": task, "queue": queue})
    found = by_task(overview.stats(wanted, app=console_of(request).reader))
    return {"all": plain(found[-1]), "tasks": plain(found[:-1])}


@router.get("/stats/series")
def show_series(
    request: Request,
    range: Annotated[str, Query(max_length=10)] = "1h",
    task: _Word = None,
    queue: _Word = None,
) -> dict[str, Any]:
    """What ended over an hour to ninety days, in steps: 1h, 6h, 24h, 7d, 30d or 90d."""
    return {"series": plain(series(range, task=task, queue=queue, app=console_of(request).reader))}


@router.get("/stats/spread")
def show_spread(
    request: Request,
    of: Literal["wait", "run"] = "run",
    range: Annotated[str, Query(max_length=10)] = "1h",
    task: _Word = None,
    queue: _Word = None,
) -> dict[str, Any]:
    """How long jobs were due before they began, or attempts ran, in steps, and in spans of `bounds`."""
    return {"series": plain(spread(of, range, task=task, queue=queue, app=console_of(request).reader))}


@router.get("/alerts")
def list_alerts(request: Request) -> dict[str, Any]:
    """What is wrong and was told outside, the newest first."""
    return {"alerts": plain(rounds.list_alerts(app=console_of(request).reader))}


@router.get("/doctor")
def show_doctor(request: Request) -> dict[str, Any]:
    """What the doctor found lately."""
    findings = console_of(request).head.doctor.get(wait=30.0)
    return {"status": str(list(doctor.Level)[doctor.status(findings)]), "findings": plain(findings)}


@router.get("/schedules")
def list_schedules(request: Request) -> dict[str, Any]:
    """Every schedule, by name."""
    found = schedules.list_all(app=console_of(request).reader)
    return {"schedules": [plain(schedule_shape(each)) for each in found]}


@router.get("/schedules/{name:path}")
def show_schedule(request: Request, name: str) -> dict[str, Any]:
    """A schedule, its next runs, and the due times that it passed over lately."""
    app = console_of(request).reader
    found = schedules.get(name, app=app)
    return {
        "schedule": plain(schedule_shape(found)),
        "next": plain(schedules.next_runs(name, _NEXT_RUNS, app=app)),
        "skips": plain(skipped(name, app=app)),
    }
