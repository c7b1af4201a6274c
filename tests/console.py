"""A console of a test's own app, asked without a socket."""

from __future__ import annotations

import hashlib
import re
import threading
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from celeriac.application import Celeriac
from celeriac.console import create
from celeriac.console.access.one_time_token import OneTimeToken
from celeriac.console.access.roles import Role
from celeriac.console.application import Console
from tests.support import wait_until

BASE = "http://127.0.0.1:5556"
PASSWORD = "correct horse"  # of every user of the tests
_SALT = bytes(16)
SAME_SITE = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}


@cache
def user_line(role: Role) -> str:
    """The line of a user who is named as the role, with a hash that is quick to make and to compare."""
    digest = hashlib.scrypt(PASSWORD.encode(), salt=_SALT, n=2, r=1, p=1, dklen=32)
    return f"{role}:{role}:scrypt$2$1$1${b64encode(_SALT).decode()}${b64encode(digest).decode()}"


def users_file(directory: Path) -> Path:
    """A file with a user of each role."""
    path = directory / "console-users"
    path.write_text("".join(f"{user_line(role)}\n" for role in Role))
    path.chmod(0o600)
    return path


def _reading() -> bool:
    return any(thread.name == "console-read" for thread in threading.enumerate())


class Browser:
    """Somebody at the console of ``app``: logged in as ``role`` where there are users, else by the token."""

    def __init__(self, app: Celeriac, *, role: Role | None = Role.ADMIN, client: str = "127.0.0.1") -> None:
        self.token = None if app.settings.console_users else OneTimeToken(lambda new: None)
        self.asgi = create(app, token=self.token)
        self.http = TestClient(  # one event loop for all requests; its end closes the console
            self.asgi, base_url=BASE, client=(client, 50_000), headers=SAME_SITE
        )
        self.http.__enter__()
        if role is not None and self.token is not None:
            entered = self.http.get("/audit", params={"token": self.token.value})  # it counts nothing
            assert entered.status_code == 200, entered.text
        elif role is not None:
            assert self.log_in(str(role)).status_code == 200

    @property
    def console(self) -> Console:
        found: Console = self.asgi.state.console
        return found

    def log_in(self, name: str, password: str = PASSWORD) -> Any:
        return self.http.post("/login", data={"name": name, "password": password, "next": "/operations"})

    def get(self, path: str, **query: Any) -> Any:
        return self.http.get(path, params=query or None)

    def with_cookie(self, cookie: str) -> int:
        """The status of a page for who sends this cookie."""
        self.http.cookies.clear()
        headers = {"cookie": f"celeriac_console={cookie}"}
        return int(self.http.get("/jobs", headers=headers).status_code)

    def page(self, path: str, **query: Any) -> str:
        """The HTML of a page that is there."""
        found = self.get(path, **query)
        assert found.status_code == 200, found.text
        return str(found.text)

    def json(self, path: str, **query: Any) -> Any:
        return self.http.get(path, params=query or None, headers={"accept": "application/json"}).json()

    def form_token(self) -> str:
        found = re.search(r'name="form_token" value="([^"]+)"', self.page("/operations"))
        assert found is not None
        return found[1]

    def post(self, page: str, /, *, token: str | None = None, **fields: Any) -> Any:
        """Send a form of the console's own page."""
        given = self.form_token() if token is None else token
        return self.http.post(page, data={"form_token": given, **fields})

    def close(self) -> None:
        """What reads in the background ends first: it may be waiting for a server that was away."""
        wait_until(lambda: not _reading(), within=60, saying="the console reads no more")
        self.http.__exit__(None, None, None)
