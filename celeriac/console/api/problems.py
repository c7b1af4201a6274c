"""Refusals as problem details (RFC 9457), which name the field that is wrong."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

MEDIA_TYPE = "application/problem+json"


def problem(status: int, title: str, detail: str, **more: Any) -> JSONResponse:
    known = {name: value for name, value in more.items() if value is not None}
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **known}
    return JSONResponse(body, status, media_type=MEDIA_TYPE)


async def of_validation(request: Request, error: Exception) -> JSONResponse:
    """A request whose fields do not fit: every one of them is named."""
    assert isinstance(error, RequestValidationError)
    fields = [_told(each) for each in error.errors()]
    sentence = "; ".join(f"{each['field']}: {each['detail']}" for each in fields)[:2_000]
    return problem(422, "this request is not valid", sentence, field=fields[0]["field"], errors=fields)


async def of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    answer = problem(error.status_code, "not here", f"nothing answers {request.method} there")
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(_allowed(request))
    return answer


def _allowed(request: Request) -> list[str]:
    """Every method that the path answers to; the error names those of its first route alone."""
    known = ((route, method) for route in request.app.state.routes for method in route.methods)
    asked = dict(request.scope)
    return sorted({name for route, name in known if route.matches(asked | {"method": name})[0] is Match.FULL})


def _told(error: Any) -> dict[str, str]:
    if error["type"] == "json_invalid":  # its place is where it breaks off, not a field
        reason = error.get("ctx", {}).get("error", "it cannot be read")
        return {"field": "body", "detail": f"no JSON: {reason}, at character {error['loc'][-1]}"}
    return {"field": _field(error["loc"]), "detail": str(error["msg"])}


def _field(location: tuple[int | str, ...]) -> str:
    """The field, without where it stands, the query or the body, and which of its types was tried.

    >>> _field(("body", "args", 0)), _field(("body", "priority", "constrained-int"))
    ('args.0', 'priority')
    """
    names = [str(each) for each in location[1:] or location]
    return ".".join(names[:-1] if len(names) > 1 and names[-1] in _TYPES else names)


_TYPES = frozenset({"constrained-int", "constrained-str", "int", "str"})
