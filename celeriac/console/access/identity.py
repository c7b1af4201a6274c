"""Who is asking: by a session's cookie, a password, a token of the API, or the header of a trusted proxy."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from base64 import b64decode
from typing import Any

from starlette.requests import HTTPConnection

from celeriac.console.access.bearer import Bearers
from celeriac.console.access.oidc import Oidc, Person
from celeriac.console.access.options import Options
from celeriac.console.access.roles import Role
from celeriac.console.access.signing import Signer
from celeriac.console.access.throttle import Throttle
from celeriac.console.access.visitor import TooManyTries, Visitor
from celeriac.ids import new_id
from celeriac.names import NAME_LENGTH

COOKIE = "celeriac_console"
_SESSION = "session"
_OIDC = "oidc"  # in place of the version of a user's line
_REMEMBERED = 60.0  # seconds for which a password that was right is not computed again
_MOST = 1000


class Identity:
    def __init__(self, options: Options, bearers: Bearers) -> None:
        self._options = options
        self._bearers = bearers
        self._signer = Signer(options.key)
        self._throttle = Throttle()
        self._lock = threading.Lock()
        self._ended: dict[str, float] = {}  # sessions that were logged out -> until when they would last
        self._known: dict[bytes, float] = {}  # passwords that were right a moment ago

    @property
    def signer(self) -> Signer:
        return self._signer

    @property
    def oidc(self) -> Oidc | None:
        """The service at which people log in; None: there is none."""
        return self._options.oidc

    def cookie_of(self, person: Person) -> str:
        """The cookie of a new session for who was let in by that service."""
        return self._cookie(person.name, person.role, _OIDC)

    def of(self, request: HTTPConnection) -> Visitor | None:
        """The visitor; None when it is nobody known.

        Raises:
            TooManyTries: passwords were tried from there, or the token is used too often.
            BadToken: it is a token of ours, and cannot be used.
        """
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and (found := self._bearers.of(given.strip())):
            return found
        return self._by_proxy(request) or self._by_session(request) or self._by_password(request)

    def log_in(self, name: str, password: str, *, address: str) -> str | None:
        """The cookie of a new session; None: it is not the password.

        Raises:
            TooManyTries: wait.
        """
        user = self._checked(name, password, address)
        return None if user is None else self._cookie(user.name, user.role, user.version)

    def take_token(self, token: str) -> str | None:
        """The cookie of a new session for who has the token of the printed URL."""
        taken = self._options.token is not None and self._options.token.take(token)
        return self._cookie("local", Role.ADMIN, "token") if taken else None

    def end(self, request: HTTPConnection) -> None:
        """End the session of this request, also for who has copied its cookie."""
        found = self._signer.loads(_SESSION, request.cookies.get(COOKIE, ""))
        if found is None:
            return
        with self._lock:
            now = time.monotonic()
            self._ended = {key: until for key, until in self._ended.items() if until > now}
            self._ended[found["id"]] = now + self._options.session

    def form_token(self, visitor: Visitor) -> str:
        """The token that a form of this visitor must bring back."""
        return self._signer.mark("form", visitor.key.encode())

    def knows(self, visitor: Visitor, token: str) -> bool:
        return hmac.compare_digest(self.form_token(visitor).encode(), token.encode())

    def _cookie(self, name: str, role: Role, version: str) -> str:
        value = {"id": new_id(), "name": name, "role": role, "version": version}
        return self._signer.dumps(_SESSION, value, lasts=self._options.session)

    def _by_session(self, request: HTTPConnection) -> Visitor | None:
        found: Any = self._signer.loads(_SESSION, request.cookies.get(COOKIE, ""))
        if found is None or found["id"] in self._ended:
            return None
        if found["version"] == "token":
            return Visitor(found["name"], Role(found["role"]), found["id"])
        if found["version"] == _OIDC:
            known = self._options.oidc is not None
            return Visitor(found["name"], Role(found["role"]), found["id"]) if known else None
        user = self._options.users.find(found["name"]) if self._options.users else None
        if user is None or user.version != found["version"]:  # the line is gone or changed
            return None
        return Visitor(user.name, user.role, found["id"])

    def _by_proxy(self, request: HTTPConnection) -> Visitor | None:
        address = request.client.host if request.client else ""
        if not self._options.proxies or not self._options.trusts(address):
            return None
        names = request.headers.getlist(self._options.proxy_header)
        if len(names) != 1 or not names[0].strip() or len(names[0]) > NAME_LENGTH:
            return None
        name = names[0].strip()
        user = self._options.users.find(name) if self._options.users else None
        return Visitor(name, user.role if user else Role.VIEWER, f"proxy:{name}")

    def _by_password(self, request: HTTPConnection) -> Visitor | None:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic" or self._options.users is None:
            return None
        try:
            name, _, password = b64decode(given, validate=True).decode().partition(":")
        except ValueError:
            return None
        address = request.client.host if request.client else ""
        user = self._checked(name, password, address)
        return None if user is None else Visitor(user.name, user.role, "")

    def _checked(self, name: str, password: str, address: str) -> Any:
        if self._options.users is None:
            return None
        found = self._options.users.find(name)
        version = found.version if found else ""
        mark = hmac.digest(self._options.key, f"{name}\0{version}\0{password}".encode(), hashlib.sha256)
        if found is not None and self._known.get(mark, 0.0) > time.monotonic():
            return found
        keys = (f"address {address}", f"name {name[:NAME_LENGTH]}")
        if wait := self._throttle.wait(*keys):
            raise TooManyTries(wait)
        user = self._options.users.check(name, password)
        if user is None:
            self._throttle.failed(*keys)
            return None
        self._throttle.worked(*keys)
        with self._lock:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[mark] = time.monotonic() + _REMEMBERED
        return user
