"""``/jobs/{id}``: why a job does not run, its way so far and from here on, its arguments, its actions."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import HTMLResponse, RedirectResponse, Response

from celeriac.console import argument_form
from celeriac.console.changes import log_change
from celeriac.console.page_request import PageRequest
from celeriac.console.pages import jobs
from celeriac.console.pages.pausing import paused
from celeriac.console.tracebacks import parts
from celeriac.console.trees import at, one_line, tree
from celeriac.display import safe
from celeriac.errors import BadArgument
from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.schema.lifecycle import TERMINAL, WAITING, JobState
from celeriac.operate.acting import one_job, operations
from celeriac.operate.acting.acts import act_of
from celeriac.operate.actions import Action, list_actions, record
from celeriac.operate.explain import Reason, explain
from celeriac.operate.history.workflow import MOST, workflow
from celeriac.operate.job import Job, job
from celeriac.operate.listing import resolve
from celeriac.operate.pauses import PauseRow, that_stops
from celeriac.operate.presentation.attempts import every_attempt
from celeriac.operate.presentation.headers import shown_headers
from celeriac.operate.presentation.shapes import plain
from celeriac.operate.presentation.timeline import future, shown_values, timeline
from celeriac.operate.presentation.unique_words import followers_of

_ACTIONS = 20  # that are shown
_SHOWN = ("args", "kwargs", "result", "headers")  # the values of which each can be revealed
_LARGEST_COPY = 10_000  # characters


def show(ask: PageRequest) -> Response:
    id = resolve(ask.path("id"), app=ask.app)
    if id != ask.path("id"):  # a shortened one: the address of a page names one job for good
        return RedirectResponse(ask.url(f"/jobs/{id}"), 307)
    found = job(id, app=ask.app)
    why = explain(id, app=ask.app)
    values, now = shown_values(ask.app, found), datetime.now(UTC)
    headers = shown_headers(ask.app, id)
    around = workflow(found, app=ask.app)
    following = followers_of(id, app=ask.app)
    past, coming = timeline(found), future(ask.app, found, now=now)
    told = {
        **plain(found),
        **values,
        "headers": headers,
        "revealed": False,
        "attempts": plain(every_attempt(found)),
        "timeline": plain(past),
        "future": plain(coming),
        "explanation": plain(why),
        "workflow": plain(around),
        "followers": plain(following),
    }
    return ask.show(
        "job.html",
        command=f"jobs show {id}",
        told={"job": told},
        job=found,
        why=why,
        now=now,
        past=past,
        workflow=around,
        followers=following,
        most_counted=MOST,
        coming=coming,
        values=values,
        trees={name: tree(each, (name,)) for name, each in {**values, "headers": headers}.items()},
        attempts=[(attempt, parts(attempt.traceback or "")) for attempt in every_attempt(found)],
        pause=_pause(ask, found) if why.reason is Reason.PAUSED else None,
        limited=why.reason is Reason.LIMITED,
        waiting=found.state in WAITING,
        parked=found.next_attempt_after == PARKED,
        over=found.state in TERMINAL,
        dead=found.state is JobState.FAILED,
        running=found.state is JobState.RUNNING,
        copies=_copies(ask, found, values),
        actions=_touched(ask, found),
    )


def _pause(ask: PageRequest, found: Job) -> PauseRow | None:
    """What is paused, and holds it back."""
    return that_stops(paused(ask), queue=found.queue, task=found.task)


def _touched(ask: PageRequest, found: Job) -> list[Action]:
    """What was done to it, alone or with others, the newest first."""
    alone = list_actions(job=found.id, limit=_ACTIONS, app=ask.app).actions
    with_others = operations.that_met(found, app=ask.app)
    return sorted([*alone, *with_others], key=lambda each: each.began, reverse=True)[:_ACTIONS]


def _copies(ask: PageRequest, found: Job, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What enqueues the same job, in Python and with curl; nothing where it would be too large to copy."""
    if values["args"] is None:
        return []
    given = {"queue": found.queue, "priority": found.priority, "user_id": found.user_id}
    options = {name: value for name, value in given.items() if value is not None}
    body = argument_form.as_body(found.task, values, options)
    if len(body) > _LARGEST_COPY:
        return []
    address = f"{str(ask.request.base_url).rstrip('/')}/api/v1/jobs"
    curl = (
        f"curl -X POST {shlex.quote(address)} -H 'Authorization: Bearer TOKEN' "
        f"-H 'Content-Type: application/json' -d {shlex.quote(body)}"
    )
    return [("Python", argument_form.as_python(found.task, values, options)), ("curl", curl)]


def act(ask: PageRequest) -> Response:
    """Do an action with this job."""
    id, action = resolve(ask.path("id"), app=ask.app), ask.given("action")
    words, options = act_of(action).words, jobs.options_of_move(ask) if action == "move" else {}
    done = one_job.act(
        action, id, by=ask.actor, reason=ask.given("reason"), options=options, app=ask.console.app
    )
    said = f"{words}: done" if done else f"{words}: its state does not allow it"
    if done:
        log_change(ask.visitor.name, words, id)
    to = "/jobs" if action == "discard" and done else f"/jobs/{id}"
    return ask.go(ask.url(to), saying=f"{said} (job {id})")


def clone(ask: PageRequest) -> Response:
    """Make a new job with the arguments of this one."""
    id = resolve(ask.path("id"), app=ask.app)
    made = one_job.clone(id, by=ask.actor, app=ask.console.app)
    log_change(ask.visitor.name, "clone", id)
    return ask.go(ask.url(f"/jobs/{made}"), saying=f"this is the clone of job {id}")


def reveal(ask: PageRequest) -> Response:
    """One hidden value of the job. It is logged who saw which, not the value."""
    id = resolve(ask.path("id"), app=ask.app)
    path = _path(ask.given("path"))
    values: dict[str, Any] = shown_values(ask.app, job(id, app=ask.app), reveal=True)
    values["headers"] = shown_headers(ask.app, id, reveal=True)
    try:
        value = at(values, path)
    except LookupError:
        raise BadArgument("path", "the job has no value there") from None
    what = safe(json.dumps(path), length=200)
    actor = ask.actor
    record("reveal", who=actor.who, via=actor.via, subject=f"{what} of {id}", job_id=id, app=ask.console.app)
    log_change(ask.visitor.name, f"revealed {what} of", id)
    if ask.wants_json:
        return ask.show(
            "reveal.html", command=f"jobs show --reveal {id}", told={"path": path, "value": value}
        )
    text = ask.rendered("reveal.html", value=one_line(value))
    return HTMLResponse(text)


def _path(text: str) -> list[Any]:
    try:
        path = json.loads(text)
    except (ValueError, RecursionError):
        path = None
    if not isinstance(path, list) or not path or path[0] not in _SHOWN or path == ["headers"]:
        raise BadArgument("path", 'wanted a path as JSON, as ["kwargs", "password"]')
    return path
