"""A queue and a task are paused and resumed by clicks, in a real Chromium."""

from __future__ import annotations

import pytest

from celeriac.operate import pauses
from tests.browser.visit import Visit

pytestmark = pytest.mark.browser


def paused(visit: Visit) -> list[tuple[str, str | None]]:
    return [(row.name, row.reason) for row in pauses.paused(app=visit.app)]


def test_a_queue_is_paused_and_resumed_by_clicks(visit: Visit) -> None:
    visit.go("/queues")
    visit.page.select_option("select[name=name]", "low")
    visit.page.fill("input[name=reason]", "smtp <b>is</b> down")
    visit.page.click("button:has-text('pause')")
    visit.until("the queue low is paused")
    visit.until("smtp <b>is</b> down")
    assert paused(visit) == [("low", "smtp <b>is</b> down")]
    assert visit.violations() == []
    visit.page.set_viewport_size({"width": 390, "height": 844})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    visit.page.click("button:has-text('resume low')")
    visit.until("the queue low goes on")
    assert paused(visit) == []


def test_a_task_is_paused_and_resumed_by_clicks(visit: Visit) -> None:
    visit.go("/tasks/mail.send")
    visit.page.click("button:has-text('pause')")
    visit.until("the task mail.send is paused")
    assert paused(visit) == [("mail.send", None)]
    assert visit.violations() == []
    visit.page.click("button:has-text('resume mail.send')")
    visit.until("the task mail.send goes on")
    assert paused(visit) == []
