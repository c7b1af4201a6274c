"""``/schedules``: what is enqueued automatically, when it will be, and what can be done with each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from celeriac import schedules as registry
from celeriac.console.changes import log_change
from celeriac.console.page_request import PageRequest
from celeriac.errors import BadArgument
from celeriac.operate import listing
from celeriac.operate.history import sparklines
from celeriac.operate.history.skips import skipped
from celeriac.operate.listing import Filter, ListedJob
from celeriac.operate.presentation.shapes import plain, schedule_shape, schedule_state
from celeriac.schedules import Schedule

_RUNS = 5  # that are shown
_JOBS = 10
_SKIPS = 30


def show(ask: PageRequest) -> Response:
    found = registry.list_all(app=ask.app)
    return ask.show(
        "schedules.html",
        command="schedules list",
        told={"schedules": [plain(schedule_shape(each)) for each in found]},
        schedules=[(each, schedule_state(each)) for each in found],
        now=datetime.now(UTC),
    )


def show_one(ask: PageRequest) -> Response:
    found = registry.get(ask.path("name"), app=ask.app)
    runs = registry.next_runs(found.name, _RUNS, app=ask.app)
    made = listing.page(Filter(schedule=found.name), limit=_JOBS, app=ask.app)
    skips, named = skipped(found.name, app=ask.app), f"schedules show {shlex.quote(found.name)}"
    day = sparklines.of_schedule(found.name, skips, app=ask.app)
    return ask.show(
        "schedule.html",
        command=named,
        named=named,
        told={
            "schedule": plain(schedule_shape(found)),
            "next": plain(runs),
            "jobs": plain(made.jobs),
            "day": plain(day),
            "late": plain(late_by(found, made.jobs)),
            "skips": plain(skips),
        },
        one=found,
        values=schedule_shape(found),
        state=schedule_state(found),
        runs=runs,
        made=made,
        late=late_by(found, made.jobs),
        day=day,
        skips=skips[:_SKIPS],
        more_skips=len(skips) > _SKIPS,
        now=datetime.now(UTC),
    )


def late_by(one: Schedule, made: Sequence[ListedJob]) -> timedelta | None:
    """How long after its last due time the job of it was accepted; None: it has none, or it is not kept."""
    accepted = [job.queued for job in made if one.last_run is not None and job.queued >= one.last_run]
    return min(accepted) - one.last_run if accepted and one.last_run else None


def act(ask: PageRequest) -> Response:
    """Run it now, enable it, disable it."""
    name, action, app = ask.path("name"), ask.given("action"), ask.console.app
    back = ask.url(f"/schedules/{name}")
    if action == "run-now":
        id = registry.run_now(name, also=ask.actor.noting("schedule run", name), app=app)
        log_change(ask.visitor.name, "runs now", name)
        return ask.go(ask.url(f"/jobs/{id}"), saying=f"this is the job that {name} made")
    if action == "enable":
        registry.enable(name, also=ask.actor.noting("schedule enable", name), app=app)
    elif action == "disable":
        registry.disable(name, also=ask.actor.noting("schedule disable", name), app=app)
    else:
        raise BadArgument("action", f"wanted run-now, enable or disable, found {action[:80]!r}")
    log_change(ask.visitor.name, f"{action}d", name)
    return ask.go(back, saying=f"{name} is {action}d")


def remove(ask: PageRequest) -> Response:
    name = ask.path("name")
    registry.unregister(name, also=ask.actor.noting("schedule remove", name), app=ask.console.app)
    log_change(ask.visitor.name, "removed", name)
    return ask.go(ask.url("/schedules"), saying=f"{name} is removed; the jobs that it made stay")
