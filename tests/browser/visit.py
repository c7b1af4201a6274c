"""One person at the console in a browser, with what the browser complained of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celeriac.application import Celeriac
from celeriac.operate.dead_letters import Cause, groups
from tests.stock import Stock
from tests.support import wait_until

AXE = Path(__file__).with_name("axe") / "axe.min.js"

#: A page that must say of itself that it is refused logs its status; that is no complaint.
_EXPECTED = "Failed to load resource: the server responded with a status of 4"


class Visit:
    def __init__(self, page: Any, url: str, *, app: Celeriac, stock: Stock) -> None:
        self.page, self.url, self.app, self.stock = page, url, app, stock
        self.complaints: list[str] = []
        page.set_default_timeout(60_000)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._request)

    def enter(self, token: str) -> None:
        self.page.goto(f"{self.url}/?token={token}")
        self.page.wait_for_selector("nav")

    def go(self, path: str) -> int:
        """Open a page; return its status."""
        answer = self.page.goto(f"{self.url}{path}")
        return int(answer.status)

    def paths(self) -> list[str]:
        """The address of every page."""
        key = Cause.of(groups(app=self.app)[0]).key
        named = [
            "/",
            "/jobs",
            f"/jobs/{self.stock.failed['id']}",
            f"/jobs/{self.stock.failed['id']}/edit",
            f"/jobs/{self.stock.running['id']}",
            "/dead",
        ]
        more = [
            f"/dead/{key}",
            "/queues",
            "/queues/normal",
            "/limits",
            "/schedules",
            "/schedules/nightly",
            "/new-schedule",
            "/workers",
        ]
        return [*named, *more, "/tasks", "/tasks/mail.send", "/doctor", "/audit", "/login"]

    def text(self) -> str:
        return str(self.page.inner_text("body"))

    def until(self, words: str, *, within: float = 60) -> None:
        wait_until(lambda: words in self.text(), within=within, saying=f"the page says {words!r}")

    def read_at(self) -> str:
        """When what the page shows was read."""
        return str(self.page.get_attribute("#live", "data-read"))

    def violations(self) -> list[str]:
        """What axe finds, as rule and element."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {node['html'][:200]}" for each in found["violations"] for node in each["nodes"]
        ]

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_EXPECTED):
            self.complaints.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.complaints.append(f"asked another host: {request.url}")
