"""What the API's description says of all operations: how one is let in, and what a refusal looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBase, HTTPBearer
from fastapi.openapi.models import SecurityBase as SecurityModel
from fastapi.security.base import SecurityBase
from pydantic import BaseModel

from celeriac.console.api.problems import MEDIA_TYPE


class FieldProblem(BaseModel):
    field: str
    detail: str


class Problem(BaseModel):
    """A refusal, as in RFC 9457."""

    type: str
    title: str
    status: int
    detail: str  # what is wrong, and what to do about it
    field: str | None = None  # which part of the request is wrong
    errors: list[FieldProblem] | None = None  # all of them, where several are


class _Described(SecurityBase):
    """Stands in the description; who asks is found in ``routing.visitor``."""

    def __init__(self, name: str, model: SecurityModel) -> None:
        self.scheme_name = name
        self.model = model

    async def __call__(self, request: Request) -> None:
        return None


#: A token or a password: one of them.
WAYS_IN = (
    Depends(_Described("token", HTTPBearer(description="of `celery -A app tokens create NAME`"))),
    Depends(_Described("password", HTTPBase(scheme="basic", description="of a user of the console"))),
)

_REFUSALS = {
    400: "an argument has no meaning; `field` names it",
    401: "nobody known: send a token or a password",
    403: "the role does not allow it",
    404: "there is no such thing",
    409: "it cannot be done now",
    413: "the request is too large",
    415: "the body is not sent as JSON",
    422: "a field does not fit; `errors` names every one",
    429: "too many requests of this token: wait for `Retry-After` seconds",
    503: "the database is away, or took too long: try again",
}


_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 255},
    "description": "the same request with the same key again is not done again, and is answered as before",
}


def completed(found: Mapping[str, Any], root: str) -> dict[str, Any]:
    """The description with what FastAPI cannot know of it.

    Args:
        root: the path below which the API answers, as ``/ops/api/v1``.
    """
    paths = {
        path: {method: _with_key(method, told) for method, told in at.items()}
        for path, at in found["paths"].items()
    }
    return {**found, "servers": [{"url": root or "/"}], "paths": paths}


def _with_key(method: str, told: Mapping[str, Any]) -> Mapping[str, Any]:
    named = [each["name"].lower() for each in told.get("parameters", [])]
    if method != "post" or _KEY["name"].lower() in named:
        return told
    return {**told, "parameters": [*told.get("parameters", []), _KEY]}


def responses() -> dict[int | str, dict[str, Any]]:
    """The refusals that every operation may answer."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": text, "content": content} for status, text in _REFUSALS.items()}
