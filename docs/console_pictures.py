"""Makes the pictures of the console in ``docs/images``, in a real Chromium, over the demonstration's load.

    make screenshots

A picture in which something of this machine is to be seen is refused, as in ``docs/screenshots.py``.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from docs.screenshots import IMAGES, ROOT, Revealing, environment_of_the_demonstration, secrets
from tests.browser.conftest import FLAGS, chromium
from tests.workers import DemoProcess

_LOAD = 300  # seconds until the demonstration is done
_SIZE = {"width": 1280, "height": 760}

#: Puts names that say nothing in place of this machine's.
_ANYWHERE = """names => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    for (const [here, anywhere] of names) {
      walk.currentNode.data = walk.currentNode.data.replaceAll(here, anywhere);
    }
  }
}"""


@dataclass(frozen=True, slots=True)
class Page:
    """A page and its picture; ``{dead}`` is a job, ``{key}`` a group of dead letters."""

    name: str
    path: str
    scheme: str = "light"

    @property
    def file(self) -> Path:
        return IMAGES / f"console-{self.name}.png"


PAGES = (
    Page("overview", "/"),
    Page("jobs", "/jobs?state=failed"),
    Page("job", "/jobs/{dead}"),
    Page("dead", "/dead", scheme="dark"),
    Page("limits", "/limits", scheme="dark"),
    Page("schedule", "/schedules/stock report#skips"),
    Page("task", "/tasks/shop.refund", scheme="dark"),
    Page("doctor", "/doctor"),
)


def make() -> None:
    """Run the demonstration, and take a picture of each page."""
    with (
        tempfile.TemporaryDirectory() as home,
        DemoProcess([], env=(env := _environment(home))) as demo,
    ):
        demo.logged("Ctrl-C stops everything", within=_LOAD)
        subprocess.run([sys.executable, "-m", "docs.pictured_load"], env=env, cwd=ROOT, check=True)
        _take((Path(home) / "console.url").read_text().strip(), home)
        demo.term()
        demo.wait(60)


def _environment(home: str) -> dict[str, str]:
    modules = "tasks,docs.pictured_load"
    return {
        **environment_of_the_demonstration(home),
        "CELERIAC_TASK_MODULES": modules,
        "PYTHONPATH": str(ROOT),
    }


def _take(entrance: str, home: str) -> None:
    from playwright.sync_api import sync_playwright

    program = chromium()
    if program is None:
        raise SystemExit("the pictures of the console need Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        env = {**os.environ, "HOME": profile}
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS), env=env)
        page = browser.new_page(viewport=_SIZE)
        page.goto(entrance)
        url = urlsplit(entrance)._replace(path="", query="").geturl()
        known = _known(page, url)
        for one in PAGES:
            _picture(page, one, url + one.path.format(**known), home)
        browser.close()


def _known(page: Any, url: str) -> dict[str, str]:
    """The id of a job that was tried more than once and given up.

    It waits until a breaker is open and a due time is skipped: there are pictures of both.
    """

    def told(path: str) -> Any:
        return json.loads(page.request.get(url + path, headers={"accept": "application/json"}).text())

    def is_there() -> bool:
        opened = any(each["breaker"] == "open" for each in told("/limits")["limits"])
        return opened and bool(told("/schedules/stock report")["skips"])

    for _ in range(_LOAD):
        if is_there():
            break
        page.wait_for_timeout(1_000)  # milliseconds
    found = json.loads(page.request.get(f"{url}/api/v1/jobs?state=failed").text())["jobs"]
    return {"dead": next(str(job["id"]) for job in found if job["try_count"] > 1)}


def _picture(page: Any, one: Page, address: str, home: str) -> None:
    page.emulate_media(color_scheme=one.scheme)
    page.goto(address)
    page.wait_for_timeout(3_000)  # milliseconds: the counts and the doctor are there
    page.evaluate(
        _ANYWHERE, [[home, "/srv/shop/.data"], [str(ROOT), "/srv/shop"], [socket.gethostname(), "w1"]]
    )
    for secret in secrets(page.inner_text("body")):
        raise Revealing(f"{one.name} shows {secret!r}")
    page.screenshot(path=one.file)
    print(one.file.name)


if __name__ == "__main__":
    make()
