"""The door of the console: refuses foreign hosts, other sites and large bodies; sets headers of security."""

from __future__ import annotations

import re
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from celeriac.console.access.options import Options
from celeriac.observe import host_names

#: Bytes of a request's body, at most.
LARGEST_BODY = 1_500_000

#: A Host header: an address in brackets or a name, and a port.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?")

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Around the whole app."""

    def __init__(self, app: ASGIApp, *, options: Options) -> None:
        self._app = app
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        scope.setdefault("state", {})["nonce"] = nonce

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _secure(MutableHeaders(scope=message), nonce, static="/static/" in scope["path"])
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        answer = self._app if refusal is None else _answer(*refusal, scope)
        await answer(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._knows(host):
            return 421, "this name is not one of the console's: add it to CELERIAC_CONSOLE_HOSTS"
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") and (
            method not in _SAFE or headers.get("sec-fetch-mode", "navigate") != "navigate"
        ):
            return 403, "this request came from another site: open the console's own page and do it there"
        origin = headers.get("origin")
        if method not in _SAFE and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "this request came from another site: open the console's own page and do it there"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 12 or int(length) > LARGEST_BODY:
            return 413, f"the request is larger than {LARGEST_BODY:,} bytes"
        if method not in _SAFE and "transfer-encoding" in headers:
            return 411, "say how long the request is, with Content-Length"
        return None

    def _knows(self, host: str) -> bool:
        """Whether it may be asked under this name."""
        found = _HOST.fullmatch(host.lower())
        name = (found[1] or found[2]).rstrip(".") if found else ""
        return bool(name) and host_names.is_safe(name, known=self._options.hosts)


def _answer(status: int, sentence: str, scope: Scope) -> Response:
    if "json" in Headers(scope=scope).get("accept", "") or "/api/v1" in scope["path"]:
        problem = {"type": "about:blank", "title": "refused", "status": status, "detail": sentence}
        return JSONResponse(problem, status, media_type="application/problem+json")
    return PlainTextResponse(f"{sentence}\n", status)


def _secure(headers: MutableHeaders, nonce: str, *, static: bool) -> None:
    headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; "
        "img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    headers["X-Frame-Options"] = "DENY"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    headers.setdefault("Cache-Control", "private, max-age=86400" if static else "no-store")
