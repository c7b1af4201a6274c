"""The console in a real Chromium: long names and texts have room, and what cannot be undone is asked for."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import insert

from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.operate.dead_letters import Cause, groups
from celeriac.operate.job import jobs
from tests import stock as rows
from tests.browser.visit import Visit
from tests.support import wait_until

pytestmark = pytest.mark.browser

LONG_NAME = "a.task.with.a.very.long.dotted.name." + "generated" * 8
LONG_TEXT = "the acquirer at https://api.example.org/" + "v1/charges/" * 20 + " did not answer"


def write_long(visit: Visit) -> str:
    """A dead letter whose every text is long; return the address of its group."""
    row = rows.failed(
        job_type=LONG_NAME,
        failure_info=f"error: {LONG_NAME}: {LONG_TEXT}",
        headers={"argsrepr": f"({'x' * 300!r}, 1)", "kwargsrepr": "{}"},
    )
    attempt = rows.failure(row, exception_type=LONG_NAME, exception=LONG_TEXT, frame=f"{'f' * 60}.py:send")
    with visit.app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row])
        connection.execute(insert(FAILURES), [attempt])
    return next(f"/dead/{Cause.of(each).key}" for each in groups(app=visit.app) if each.task == LONG_NAME)


@pytest.mark.parametrize("width", [360, 1280])
def test_long_names_and_texts_fit_the_page(visit: Visit, width: int) -> None:
    group = write_long(visit)
    visit.page.set_viewport_size({"width": width, "height": 800})
    for path in (*visit.paths(), group, f"/tasks/{LONG_NAME}"):
        visit.go(path)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_the_arguments_of_a_job_take_one_line_of_the_list(visit: Visit) -> None:
    write_long(visit)
    visit.go("/jobs?state=failed")
    heights = visit.page.eval_on_selector_all(
        "td[data-name=arguments] code", "all => all.map(each => each.getBoundingClientRect().height)"
    )
    assert len(heights) == 2
    assert max(heights) < 30
    assert "x" * 120 in visit.page.get_attribute("td[data-name=arguments] code >> nth=0", "title")


def test_what_cannot_be_undone_is_asked_for_once_more(visit: Visit) -> None:
    def there() -> bool:
        return any(each.id == id for each in jobs(state="failed", app=visit.app))

    asked: list[str] = []
    answers = iter([False, True])

    def answer(dialog: object) -> None:
        asked.append(dialog.message)  # type: ignore[attr-defined]
        dialog.accept() if next(answers) else dialog.dismiss()  # type: ignore[attr-defined]

    id = str(visit.stock.failed["id"])
    visit.page.on("dialog", answer)
    visit.go(f"/jobs/{id}")
    visit.page.click("button[value=discard]")
    assert asked == ["Delete this job, with its history?"]
    assert there()
    visit.page.click("button[value=discard]")
    visit.page.wait_for_url(re.compile("/jobs$"))
    assert not there()


def test_a_selected_row_stays_selected_when_others_come_before_it(visit: Visit) -> None:
    """Enter opens, and x ticks, what is seen to be selected."""
    visit.go("/jobs")
    visit.page.keyboard.press("j")
    selected = visit.page.get_attribute("tr.selected", "data-href")
    with visit.app.database.transaction() as connection:
        connection.execute(insert(JOBS), [rows.pending(job_type="mail.newer", queued=rows.before(0))])
    visit.until("mail.newer")
    assert visit.page.get_attribute("tr.selected", "data-href") == selected
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url(re.compile(f"{selected}$"))


def test_a_row_with_the_focus_of_the_keyboard_does_not_change(visit: Visit) -> None:
    visit.go("/jobs")
    link = visit.page.locator("tbody a >> nth=0")
    link.focus()
    visit.page.keyboard.press("Shift+Tab")
    visit.page.keyboard.press("Tab")  # now it is seen that it has it
    before = visit.read_at()
    visit.until("read 6 s ago")
    assert visit.read_at() == before
    visit.page.evaluate("document.activeElement.blur()")
    wait_until(lambda: visit.read_at() != before, within=60, saying="the page is read anew")


@pytest.mark.parametrize("path", ["/", "/jobs", "/audit"])
def test_the_first_tab_leads_to_the_content(visit: Visit, path: str) -> None:
    visit.go(path)
    visit.page.wait_for_load_state("networkidle")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.textContent") == "to the content"
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("!!document.activeElement.closest('main')")
