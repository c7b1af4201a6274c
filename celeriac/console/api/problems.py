"""Refusals as problem details (RFC 9457), which name the field that is wrong."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


def problem(status: int, title: str, detail: str, **more: Any) -> JSONResponse:
    known = {name: value for name, value in more.items() if value is not None}
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **known}
    return JSONResponse(body, status, media_type=MEDIA_TYPE)


async def of_validation(request: Request, error: Exception) -> JSONResponse:
    """A request whose fields do not fit: every one of them is named."""
    assert isinstance(error, RequestValidationError)
    fields = [{"field": _field(each["loc"]), "detail": str(each["msg"])} for each in error.errors()]
    sentence = "; ".join(f"{each['field']}: {each['detail']}" for each in fields)[:2_000]
    return problem(422, "this request is not valid", sentence, field=fields[0]["field"], errors=fields)


async def of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, "not here", f"nothing answers {request.method} there")


def _field(location: tuple[int | str, ...]) -> str:
    """The field, without whether it stands in the query or the body.

    >>> _field(("body", "args", 0)), _field(("query", "limit"))
    ('args.0', 'limit')
    """
    return ".".join(map(str, location[1:] or location))
