"""Queues, tasks, limits and circuit breakers are stopped and let go on by clicks, in a real Chromium."""

from __future__ import annotations

import pytest

from celeriac import Breaker, Limit
from celeriac.limits.breaker import BreakerState
from celeriac.operate import limits, pauses
from tests.browser.visit import Visit
from tests.limits_by_hand import ByHand

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


def test_a_breaker_is_opened_closed_and_left_to_itself_by_clicks(visit: Visit) -> None:
    @visit.app.task(name="charge", limit=Limit("acquirer", concurrency=9, breaker=Breaker()), shared=False)
    def charge() -> None: ...

    hand = ByHand(visit.app)
    hand.names = ("charge",)
    hand.declare()

    def state() -> BreakerState | None:
        return limits.limit("acquirer", app=visit.app).breaker

    visit.go("/limits")
    visit.page.fill("input[name=reason]", "they are down")
    visit.page.click("button:has-text('open the breaker')")
    visit.until("the breaker of acquirer is open, whatever fails")
    visit.until("breaker open by local")
    assert state() is BreakerState.OPEN
    assert visit.violations() == []
    visit.page.set_viewport_size({"width": 360, "height": 740})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    visit.page.click("button:has-text('close the breaker')")
    visit.until("the breaker of acquirer is closed")
    assert state() is BreakerState.CLOSED
    visit.page.click("button:has-text('let the breaker judge')")
    visit.until("the breaker of acquirer judges again")
    assert limits.limit("acquirer", app=visit.app).breaker_set_by is None
    visit.go("/audit")
    visit.until("they are down")
