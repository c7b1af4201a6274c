"""The console as an ASGI app: which page and which action is where, and who may use it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from celeriac.console.access import options as console_options
from celeriac.console.access.guard import LARGEST_BODY, Guard
from celeriac.console.access.one_time_token import OneTimeToken
from celeriac.console.access.roles import Role
from celeriac.console.access.visitor import BadToken, TooManyTries, Visitor
from celeriac.console.api import application as api
from celeriac.console.api.problems import problem
from celeriac.console.console import STATIC, Console
from celeriac.console.page_request import FIELDS, PageRequest
from celeriac.console.pages import (
    acting,
    audit,
    charts,
    dead,
    edit,
    export,
    job,
    jobs,
    limits,
    login,
    oidc,
    pausing,
    platform,
    schedule_form,
    schedules,
)
from celeriac.console.refusal import Refused, refused
from celeriac.events import Event

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

Answering = Callable[[PageRequest], Response]


@dataclass(frozen=True, slots=True)
class Place:
    """A page (GET) or an action (POST), and the role that it takes."""

    path: str
    role: Role
    show: Answering | None = None
    act: Answering | None = None
    file: bool = False  # sent while it is read, and never the same for two who ask


#: Every page and action of the console.
PLACES = (
    Place("/", Role.VIEWER, show=platform.show_overview),
    Place("/jobs", Role.VIEWER, show=jobs.show),
    Place("/jobs.csv", Role.VIEWER, show=export.as_csv, file=True),
    Place("/jobs.json", Role.VIEWER, show=export.as_json, file=True),
    Place("/jobs/act", Role.OPERATOR, act=jobs.act),
    Place("/jobs/{id}", Role.VIEWER, show=job.show),
    Place("/jobs/{id}/act", Role.OPERATOR, act=job.act),
    Place("/jobs/{id}/edit", Role.OPERATOR, show=edit.show, act=edit.act),
    Place("/jobs/{id}/clone", Role.OPERATOR, act=job.clone),
    Place("/jobs/{id}/reveal", Role.OPERATOR, act=job.reveal),
    Place("/dead", Role.VIEWER, show=dead.show),
    Place("/dead/act", Role.OPERATOR, act=dead.act),
    Place("/dead/{key}", Role.VIEWER, show=dead.show_group),
    Place("/dead/{key}/mute", Role.OPERATOR, act=dead.mute),
    Place("/queues", Role.VIEWER, show=platform.show_queues),
    Place("/queues/{name:path}", Role.VIEWER, show=platform.show_queue),
    Place("/limits", Role.VIEWER, show=limits.show),
    Place("/limits/act", Role.OPERATOR, act=limits.act),
    Place("/pauses/act", Role.OPERATOR, act=pausing.act),
    Place("/schedules", Role.VIEWER, show=schedules.show),
    Place("/new-schedule", Role.ADMIN, show=schedule_form.show, act=schedule_form.add),
    Place("/schedules/{name:path}/act", Role.OPERATOR, act=schedules.act),
    Place("/schedules/{name:path}/remove", Role.ADMIN, act=schedules.remove),
    Place("/schedules/{name:path}", Role.VIEWER, show=schedules.show_one),
    Place("/workers", Role.VIEWER, show=platform.show_workers),
    Place("/workers/act", Role.OPERATOR, act=platform.drain_worker),
    Place("/tasks", Role.VIEWER, show=platform.show_tasks),
    Place("/tasks/{name:path}", Role.VIEWER, show=platform.show_task),
    Place("/doctor", Role.VIEWER, show=platform.show_doctor),
    Place("/alerts/test", Role.OPERATOR, act=platform.test_alerts),
    Place("/audit", Role.VIEWER, show=audit.show),
    Place("/operations", Role.VIEWER, show=audit.show_operations),
    Place("/operations/{id}", Role.VIEWER, show=acting.show_operation),
    Place("/operations/{id}/stop", Role.OPERATOR, act=acting.stop_operation),
    Place("/logout", Role.VIEWER, act=login.log_out),
)


#: What scripts of the pages ask for; it is no page.
_FIGURES = (
    Place("/stats/series", Role.VIEWER, show=charts.show_series),
    Place("/stats/spread", Role.VIEWER, show=charts.show_spread),
)

#: How one is let in: for everybody.
_WAYS_IN = (
    Place("/login", Role.VIEWER, show=login.show, act=login.log_in),
    Place("/oidc/login", Role.VIEWER, show=oidc.begin),
    Place("/oidc/callback", Role.VIEWER, show=oidc.finish),
)


def create(app: Celeriac, *, named: str = "app", token: OneTimeToken | None = None) -> Starlette:
    """The console of ``app``, an ASGI app that may be mounted behind a prefix.

    Args:
        named: what ``celery -A`` is given in the commands that pages show.
        token: of the URL that is printed where nobody else can log in.

    Raises:
        SettingsError: nobody could log in; see CELERIAC_CONSOLE_USERS and CELERIAC_CONSOLE_PROXIES.

    >>> from celeriac.console import create
    >>> create(app)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    celeriac.errors.SettingsError: the settings have a problem:
      - the console needs to know who may use it: ...
    """
    options = console_options.read(app, named=named, token=token)
    console = Console(app, options)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        console.runner.start()  # what an earlier process left is gone on with
        yield
        await run_in_threadpool(console.close)

    made = Starlette(
        routes=_routes(console),
        middleware=[Middleware(Guard, options=options)],
        exception_handlers={HTTPException: partial(_not_here, console)},
        lifespan=lifespan,
    )
    made.state.console = console
    return made


def _routes(console: Console) -> list[BaseRoute]:
    found: list[BaseRoute] = [
        Route("/healthz", lambda _: PlainTextResponse("ok\n")),
        Mount("/api/v1", api.create(console)),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    for place in (*_WAYS_IN, *_FIGURES, *PLACES):
        methods = [*(["GET"] if place.show else []), *(["POST"] if place.act else [])]
        found.append(Route(place.path, partial(_answer, console, place), methods=methods))
    return found


async def _answer(console: Console, place: Place, request: Request) -> Response:
    form = await _form(request) if request.method == "POST" else {}
    return await run_in_threadpool(_answer_now, console, place, request, form)


def _answer_now(
    console: Console, place: Place, request: Request, form: dict[str, list[str]] | None
) -> Response:
    console.ages.begin()
    console.head.start()
    console.runner.start()  # a mounted app may have no lifespan
    nobody = PageRequest(console, request, login.NOBODY, form or {})
    try:
        if form is None:
            return _problem(
                nobody, Refused(status=415, title="refused", sentence="send a form, below 1.5 MB")
            )
        visitor = console.identity.of(request)
        if place in _WAYS_IN and (enter := place.act if request.method == "POST" else place.show):
            return enter(nobody)
        if visitor is None:
            token = nobody.query.get("token")
            entered = login.by_token(nobody, token) if token and request.method == "GET" else None
            return entered or login.ask_for_login(nobody)
        ask = PageRequest(console, request, visitor, form)
        return _checked(ask, place)
    except TooManyTries as tries:
        return login.too_many(nobody, tries)
    except BadToken as bad:
        return login.bad_token(nobody, bad)
    except Exception as exc:  # the ledger was asked for a token, and may be away
        return _failed(nobody, place, exc)


def _checked(ask: PageRequest, place: Place) -> Response:
    """The answer to somebody who is known, if the role and the form's token allow it."""
    if not ask.visitor.role.allows(place.role):
        sentence = (
            f"this takes the role {place.role}, and {ask.visitor.name} is {ask.visitor.role}: "
            "who keeps the file of CELERIAC_CONSOLE_USERS can change that"
        )
        return _problem(ask, Refused(status=403, title="not allowed", sentence=sentence))
    acts = ask.request.method == "POST"
    if acts and ask.visitor.key and not ask.console.identity.knows(ask.visitor, ask.given("form_token")):
        sentence = "the form is not one of this session: load the page again, and do it there"
        return _problem(ask, Refused(status=403, title="not allowed", sentence=sentence))
    answering = place.act if acts else place.show
    assert answering is not None
    try:
        if (ask.live or place in _FIGURES) and not (acts or place.file):
            return _same(ask, answering)
        return answering(ask)
    except Exception as exc:  # told apart below
        return _failed(ask, place, exc)


def _same(ask: PageRequest, answering: Answering) -> Response:
    """The answer to who has the page open already: it is made once for all of a role who have it open."""
    url = ask.request.url
    key = ask.visitor.role, ask.url("/"), url.path, url.query, ask.wants_json
    made = ask.console.same.of(key, lambda: answering(replace(ask, shared=True)))
    body = bytes(made.body).replace(ask.console.stand_in.encode(), ask.form_token.encode())
    headers = {name: value for name, value in made.headers.items() if name != "content-length"}
    return Response(body, made.status_code, headers)


def _failed(ask: PageRequest, place: Place, error: Exception) -> Response:
    """The answer to an error: what is the asker's, and what is a bug of ours."""
    found = refused(error, ask.console.app)
    if found is None:
        logger.error(Event.CONSOLE_FAILED, {"path": place.path}, exc_info=error)
        sentence = "the console could not answer; its log says why"
        found = Refused(status=500, title="a fault of the console", sentence=sentence)
    return _problem(ask, found)


def _problem(ask: PageRequest, found: Refused) -> Response:
    if ask.wants_json:
        body = {"type": "about:blank", "title": found.title, "status": found.status, "detail": found.sentence}
        if found.field:
            body["field"] = found.field
        return JSONResponse(body, found.status, media_type="application/problem+json")
    return ask.show("error.html", command="doctor", told={}, status=found.status, found=found)


async def _not_here(console: Console, request: Request, error: HTTPException) -> Response:
    found = Refused(
        status=error.status_code, title="not here", sentence=f"nothing answers {request.method} there"
    )
    path = request.url.path.removeprefix(str(request.scope.get("root_path", "")))
    if path.startswith("/api/"):  # a line feed in it keeps it from the API, which would say the same
        return problem(found.status, found.title, found.sentence)
    visitor = await run_in_threadpool(_known, console, request)
    return await run_in_threadpool(_problem, PageRequest(console, request, visitor), found)


def _known(console: Console, request: Request) -> Visitor:
    try:
        return console.identity.of(request) or login.NOBODY
    except Exception:  # a page that is not there says so to everybody
        return login.NOBODY


async def _form(request: Request) -> dict[str, list[str]] | None:
    """The fields of a form; None when it is none, or too large."""
    kind = request.headers.get("content-type", "application/x-www-form-urlencoded").partition(";")[0]
    if kind.strip().lower() != "application/x-www-form-urlencoded":
        return None
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            return None
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=FIELDS)
    except ValueError:
        return None
