"""A real Chromium, and a console that listens on this machine. Where there is none, one line says so.

    apt-get install chromium

CHROMIUM names another program.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browser.visit import Visit
from tests.serving import Serving

#: What Chromium is started with: no service of its maker is asked, and root may run it in a container.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out where there is no Chromium, and say so in one line at the end."""
    here = Path(__file__).parent
    mine = [item for item in items if here in item.path.parents]
    if mine and chromium() is None:
        items[:] = [item for item in items if item not in mine]
        config.hook.pytest_deselected(items=mine)
        config.stash[left_out] = len(mine)


left_out = pytest.StashKey[int]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if count := config.stash.get(left_out, 0):
        how = "apt-get install chromium, or name one in CHROMIUM"
        terminalreporter.write_line(f"left out: {count} tests of tests/browser, which need Chromium: {how}")


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    program = chromium()
    assert program is not None
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        env = {**os.environ, "HOME": home}
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS), env=env)
        yield browser
        browser.close()


@pytest.fixture
def visit(driver: Any, redis_url: str, sqlite_url: str, tmp_path: Path) -> Iterator[Visit]:
    """A page of a console over a small ledger. At its end, the browser must not have complained."""
    with visiting(driver, broker=redis_url, ledger=sqlite_url, data=tmp_path) as made:
        yield made
    assert made.complaints == []


@contextmanager
def visiting(driver: Any, *, broker: str, ledger: str, data: Path, filled: bool = True) -> Iterator[Visit]:
    """Somebody at a console over these servers."""
    from celeriac.console import create
    from celeriac.console.access.one_time_token import OneTimeToken
    from celeriac.schedules import register
    from celeriac.settings.platform import Settings
    from tests.apps import build
    from tests.stock import Stock

    app = build(
        Settings(database_url=ledger, broker_url=broker, data_dir=data, worker_timeout=600),
        name="staging",
        set_as_current=False,
    )

    @app.task(name="mail.send", shared=False)
    def send(to: str, password: str = "") -> None: ...

    stock = Stock()
    if filled:
        with app.database.transaction() as connection:
            stock.write(connection)
        register("nightly", "mail.send", args=["you@example.org"], cron="30 2 * * *", timezone="UTC", app=app)
    token = OneTimeToken(lambda new: None)
    serving = Serving(create(app, token=token))
    context = driver.new_context(viewport={"width": 1280, "height": 900}, timezone_id="Asia/Tokyo")
    made = Visit(context.new_page(), serving.url, app=app, stock=stock)
    try:
        made.enter(token.value)
        yield made
    finally:  # a console that still listens keeps a run that failed from its end
        context.close()
        serving.stop()
        app.close()
