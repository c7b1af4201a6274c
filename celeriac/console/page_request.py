"""One request to a page or an action: who asks, for what, and the answer as HTML or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from celeriac import __version__
from celeriac.console.access.roles import Role
from celeriac.console.access.visitor import Visitor
from celeriac.console.console import Console, colour_of
from celeriac.operate.actions import Actor, Via
from celeriac.operate.presentation.links import links_to
from celeriac.operate.presentation.shapes import document

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_SAID = "celeriac_said"  # the cookie with the sentence that the next page shows
_GROUPS = ("jobs", "dead-letters", "schedules")  # commands that have commands
FIELDS = 5_000  # of a query or a form, at most


@dataclass(frozen=True)
class PageRequest:
    console: Console
    request: Request
    visitor: Visitor
    form: Mapping[str, list[str]] = field(default_factory=dict)
    shared: bool = False  # the answer is for all who may see the same, not for this visitor alone

    @property
    def app(self) -> Celeriac:
        """The app to read from."""
        return self.console.reader

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.request.url.query, max_num_fields=FIELDS))

    @property
    def wants_json(self) -> bool:
        return wants_json(self.request)

    @property
    def live(self) -> bool:
        """Whether the page is open, and only what changes of it is asked for."""
        return self.request.method == "GET" and self.request.headers.get("hx-request") == "true"

    @property
    def form_token(self) -> str:
        """The token that a form of this visitor must bring back; what stands for it in a shared answer."""
        return self.console.stand_in if self.shared else self.console.identity.form_token(self.visitor)

    def path(self, name: str) -> str:
        """A part of the path, as ``id`` of ``/jobs/{id}``."""
        return str(self.request.path_params[name])

    def given(self, name: str, default: str = "") -> str:
        """The last value of a field of the form."""
        return (self.form.get(name) or [default])[-1]

    @property
    def actor(self) -> Actor:
        """Who is on record for what this request does."""
        return Actor(self.visitor.name, Via.CONSOLE)

    def may(self, role: str) -> bool:
        return self.visitor.role.allows(Role(role))

    def url(self, path: str, **query: object) -> str:
        """The address of a page of this console, wherever it is mounted."""
        if not query:  # as nearly all of a long list
            return self._root + quote(path)
        words = {name.replace("_", "-"): value for name, value in query.items() if value not in (None, "")}
        return f"{self._root}{quote(path)}{'?' + urlencode(words) if words else ''}"

    @cached_property
    def _root(self) -> str:
        return str(self.request.scope.get("root_path", "")).rstrip("/")

    def links(self, **known: object) -> list[tuple[str, str]]:
        """Name and address of what other tools have about this."""
        return links_to(self.app.settings.console_links, **known)

    def here(self, **changes: object) -> str:
        """The address of this page with another query."""
        words = {name: value for name, value in {**self.query, **changes}.items() if value not in (None, "")}
        return f"{self.url(self.place)}{'?' + urlencode(words) if words else ''}"

    @property
    def place(self) -> str:
        """The path of this page inside the console."""
        path, root = self.request.url.path, str(self.request.scope.get("root_path", ""))
        return path.removeprefix(root) or "/"

    def command(self, words: str) -> str:
        """What shows the same in a terminal."""
        return f"celery -A {self.console.options.named} {words}"

    def show(
        self, template: str, *, command: str, told: Mapping[str, Any], status: int = 200, **values: Any
    ) -> Response:
        """The page, or what it tells as JSON.

        Args:
            command: the words behind ``celery -A app`` that tell the same.
            told: the values of the JSON document, which the command names.
        """
        if self.wants_json:
            words = command.split()
            name = " ".join(words[: 2 if words[0] in _GROUPS else 1])
            return JSONResponse(document(name, **told), status, headers={"Vary": "Accept"})
        html = self.rendered(template, command=self.command(command), **values)
        answer = HTMLResponse(html, status, headers={"Vary": "Accept, HX-Request"})
        if _SAID in self.request.cookies and not self.live:  # it is shown now
            answer.delete_cookie(_SAID, path=self.url("/"))
        return answer

    def rendered(self, template: str, **values: Any) -> str:
        console, environment = self.console, self.console.options.environment
        return console.pages.get_template(template).render(
            ask=self,
            url=self.url,
            head=console.head.now(),
            environment=environment,
            colour=colour_of(environment),
            nonce=self.request.scope["state"]["nonce"],
            form_token=self.form_token,
            asset=lambda name: f"{self.url('/static/' + name)}?{console.version}",
            read=datetime.now(UTC) - timedelta(seconds=console.ages.oldest),
            version=__version__,
            **values,
        )

    def go(self, url: str, *, saying: str = "") -> Response:
        """Send the browser to another page of the console, which shows the sentence."""
        if self.wants_json:
            return JSONResponse({"said": saying, "see": url})
        answer = RedirectResponse(url, 303)
        if saying:
            text = self.console.identity.signer.dumps("said", saying, lasts=60)
            answer.set_cookie(_SAID, text, max_age=60, path=self.url("/"), httponly=True, samesite="strict")
        return answer

    @property
    def said(self) -> str:
        """The sentence that the action before left for this page."""
        found = self.console.identity.signer.loads("said", self.request.cookies.get(_SAID, ""))
        return found if isinstance(found, str) else ""


def wants_json(request: Request) -> bool:
    """Whether the client prefers JSON to HTML."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept
