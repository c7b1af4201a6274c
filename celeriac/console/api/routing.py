"""What every route of the API shares: who asks, which role it takes, how a refusal is answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from celeriac.console.access.roles import Role
from celeriac.console.access.visitor import BadToken, TooManyTries, Visitor
from celeriac.console.api.problems import problem
from celeriac.console.api.repeats import Repeatable
from celeriac.console.console import Console
from celeriac.console.refusal import refused
from celeriac.errors import EnqueueUncertain, PayloadTooLarge
from celeriac.events import Event

logger = logging.getLogger(__name__)

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Refusal(Exception):
    """An answer in place of the one that was asked for."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer


def console_of(request: Request) -> Console:
    found: Console = request.app.state.console
    return found


def visitor(role: Role) -> Any:
    """Who asks, if that is somebody with this role."""

    def check(request: Request) -> Visitor:
        try:
            found = console_of(request).identity.of(request)
        except TooManyTries as tries:
            answer = problem(429, "too many requests", tries.sentence)
            answer.headers["Retry-After"] = str(tries.wait)
            raise Refusal(answer) from None
        except BadToken as bad:
            raise Refusal(_unknown(bad.sentence, 'Bearer realm="Celeriac", error="invalid_token"')) from None
        if found is None:
            raise Refusal(_unknown(_WHO, 'Basic realm="Celeriac"'))
        if not found.role.allows(role):
            sentence = f"this takes the role {role}, and {found.name} is {found.role}"
            raise Refusal(problem(403, "not allowed", sentence))
        _begin(request, found)
        return found

    return Depends(check)


def _begin(request: Request, who: Visitor) -> None:
    """Begin a request that has a key; it is over when it has begun before."""
    found = Repeatable.of(request, who, request.state.body)
    if found is None:
        return
    if (answer := found.begin(console_of(request).app)) is not None:
        raise Refusal(answer)
    request.state.repeatable = found


_WHO = (
    "send `Authorization: Bearer` with a token of `celery -A app tokens create NAME`, "
    "or the name and password of a user of CELERIAC_CONSOLE_USERS as HTTP Basic"
)


def _unknown(sentence: str, scheme: str) -> Response:
    answer = problem(401, "who are you?", sentence)
    answer.headers["WWW-Authenticate"] = scheme
    return answer


class ApiRoute(APIRoute):
    """A route whose refusals are problem details."""

    def get_route_handler(self) -> _Handler:
        handle = super().get_route_handler()

        async def tried(request: Request) -> Response:
            try:
                return await handle(request)
            except (RequestValidationError, HTTPException):
                raise
            except Refusal as refusal:
                return refusal.answer
            except Exception as exc:  # told apart below: what is the asker's, and what is a bug of ours
                return await run_in_threadpool(_answer_to, request, exc)

        async def answered(request: Request) -> Response:
            request.state.body, request.state.repeatable = await request.body(), None
            answer = None
            try:
                answer = await tried(request)
            finally:
                if found := request.state.repeatable:
                    await run_in_threadpool(found.end, console_of(request).app, answer)
            return answer

        return answered


def _answer_to(request: Request, error: Exception) -> Response:
    found = refused(error, console_of(request).app)
    if found is None:
        logger.error(Event.CONSOLE_FAILED, {"path": request.url.path}, exc_info=error)
        return problem(500, "a fault of the console", "the console could not answer; its log says why")
    status = 413 if isinstance(error, PayloadTooLarge) else found.status
    if isinstance(error, EnqueueUncertain):
        status = 503
    answer = problem(status, found.title, found.sentence, field=found.field)
    if status == 503:
        answer.headers["Retry-After"] = "2"
    return answer
