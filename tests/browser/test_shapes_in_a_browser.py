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
