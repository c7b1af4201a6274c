"""What every route of the API shares: who asks, which role it takes, how a refusal is answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterator
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
from celeriac.errors import EnqueueUncertain, InvalidSchedule, PayloadTooLarge
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
            raise Refusal(_unknown(_who(request), 'Basic realm="Celeriac"'))
        if not found.role.allows(role):
            sentence = f"this takes the role {role}, and {found.name} is {found.role}"
            raise Refusal(problem(403, "not allowed", sentence))
        _check_words(request)
        _check_body(request)
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


def _check_words(request: Request) -> None:
    """A word of the query that means nothing here is refused: who mistypes a filter means fewer jobs."""
    known = set(_words(request.scope["route"].dependant))
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in known]
    if unknown:
        wanted = ", ".join(sorted(known)) or "none"
        told = [{"field": name[:80], "detail": f"no such word; there are: {wanted}"} for name in unknown[:20]]
        sentence = "; ".join(f"{each['field']}: {each['detail']}" for each in told)[:2_000]
        raise Refusal(problem(422, _NOT_VALID, sentence, field=told[0]["field"], errors=told))


def _words(dependant: Any) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for each in dependant.dependencies:
        yield from _words(each)


def _check_body(request: Request) -> None:
    """What is sent is read, or refused."""
    body = request.state.body.strip()
    if body in (b"", b"{}") or request.method == "GET":
        return
    if request.scope["route"].body_field is None:
        sentence = "body: nothing is to be sent here"
        raise Refusal(problem(422, _NOT_VALID, sentence, field="body"))
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        sentence = f"send the body with `Content-Type: application/json`, found {kind[:80]!r}"
        raise Refusal(problem(415, _NOT_VALID, sentence, field="Content-Type"))


_NOT_VALID = "this request is not valid"


def _who(request: Request) -> str:
    """What to send; and that what was sent is not known."""
    kind = request.headers.get("authorization", "").partition(" ")[0].lower()
    wrong = {"bearer": "this is no token of the console: ", "basic": "nobody has this name and password: "}
    return wrong.get(kind, "") + _WHO


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
    told = _problems(error)
    field = told[0]["field"] if told else found.field
    answer = problem(status, found.title, found.sentence, field=field, errors=told or None)
    if status == 503:
        answer.headers["Retry-After"] = "2"
    return answer


def _problems(error: Exception) -> list[dict[str, str]]:
    """Every field of a schedule that is wrong."""
    if not isinstance(error, InvalidSchedule):
        return []
    found = (each.partition(": ") for each in error.problems)
    return [
        {"field": field, "detail": detail}
        if detail and field.isidentifier()
        else {"field": "schedule", "detail": field + colon + detail}
        for field, colon, detail in found
    ]
