"""The charts in a real Chromium: drawn from the ledger, live, to be clicked, and readable as a table."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import insert

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.schema.models import JOBS
from tests import stock
from tests.browser.visit import Visit
from tests.support import wait_until

pytestmark = pytest.mark.browser

ENDED, SECOND = "#chart-ended", timedelta(seconds=1)


def ends(visit: Visit, count: int, **values: Any) -> datetime:
    """Jobs that end in this minute; when they did."""
    with visit.app.database.transaction() as connection:
        at = clock(connection)
        times = {"queued": at - 9 * SECOND, "started": at - 5 * SECOND, "finished": at}
        connection.execute(insert(JOBS), [stock.job(**(times | values)) for _ in range(count)])
    return at


def drawn(visit: Visit, chart: str = ENDED) -> str:
    """Of when the figures are that the chart shows."""
    visit.page.wait_for_selector(f"{chart}[data-drawn] canvas")
    return str(visit.page.get_attribute(chart, "data-drawn"))


def summed(visit: Visit) -> str:
    return str(visit.page.inner_text(f"{ENDED} .readout"))


def colours(visit: Visit) -> set[str]:
    """Some of what is painted on the canvas."""
    return set(
        visit.page.evaluate(
            """() => {
                const canvas = document.querySelector("#chart-ended canvas");
                const copy = new OffscreenCanvas(canvas.width, canvas.height);
                const context = copy.getContext("2d", { willReadFrequently: true });
                context.drawImage(canvas, 0, 0);
                const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
                const found = new Set();
                for (let at = 0; at < data.length; at += 4)
                    if (data[at + 3] === 255) found.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
                return [...found];
            }"""
        )
    )


def test_a_chart_is_live_and_does_not_flicker(visit: Visit) -> None:
    stock.rolled_up(visit.app)
    visit.go("/")
    before, first = drawn(visit), summed(visit)
    visit.page.evaluate("window.canvas = document.querySelector('#chart-ended canvas')")
    ends(visit, 7)
    wait_until(lambda: summed(visit) != first, within=60, saying="the seven are in the chart")
    assert drawn(visit) != before
    assert visit.page.evaluate("window.canvas === document.querySelector('#chart-ended canvas')")


def test_the_page_around_a_chart_is_read_anew_and_leaves_it_as_it_is(visit: Visit) -> None:
    visit.go("/")
    drawn(visit)
    read = visit.read_at()
    wait_until(lambda: visit.read_at() != read, within=60, saying="the page is read anew")
    assert visit.page.locator(f"{ENDED} canvas").count() == 1


def test_the_chart_is_drawn_in_the_colours_of_the_theme(visit: Visit) -> None:
    ends(visit, 30)
    visit.page.emulate_media(color_scheme="light")
    visit.go("/")
    drawn(visit)
    wait_until(lambda: "34,107,31" in colours(visit), within=60, saying="the bars are those of the light")
    visit.page.click("#theme")
    wait_until(lambda: "134,207,128" in colours(visit), within=60, saying="the bars are those of the dark")


def test_a_click_on_a_bar_opens_its_jobs(visit: Visit) -> None:
    at = ends(visit, 40, state="failed", job_type="mail.send")
    visit.go("/?task=mail.send")
    wait_until(lambda: "40 failed" in summed(visit), within=60, saying="they are in the chart")
    box = visit.page.locator(f"{ENDED} .u-over").bounding_box()
    # the last step that is full of them: from the right, until the click meets the bar's own minute
    whole = box["width"] / 60
    clock_of = datetime.fromisoformat(drawn(visit).replace("Z", "+00:00"))
    back = (clock_of.replace(second=0, microsecond=0) - at.replace(second=0, microsecond=0)) // (60 * SECOND)
    visit.page.mouse.click(box["x"] + box["width"] - whole * (back + 0.6), box["y"] + box["height"] - 8)
    visit.page.wait_for_url(re.compile("/jobs"))
    words = {name: values[0] for name, values in parse_qs(urlsplit(str(visit.page.url)).query).items()}
    assert words["state"] == "failed"
    assert (words["task"], words["sort"]) == ("mail.send", "finished")
    since, until = (
        datetime.fromisoformat(words[name].replace("Z", "+00:00"))
        for name in ("finished-since", "finished-until")
    )
    assert until - since == 60 * SECOND
    assert since <= at < until
    assert visit.page.locator("tbody tr[data-href]").count() == 40


def test_the_figures_can_be_read_as_a_table(visit: Visit) -> None:
    ends(visit, 3)
    visit.go("/")
    drawn(visit)
    visit.page.click(f"{ENDED} summary")
    visit.page.mouse.move(5, 5)
    visit.page.wait_for_selector(f"{ENDED} tbody a")
    assert visit.page.locator(f"{ENDED} tbody tr").count() == 60
    assert visit.violations() == []
    visit.page.locator(f"{ENDED} tbody a").first.click()
    visit.page.wait_for_url(re.compile("finished-since="))


def test_a_range_a_task_and_a_queue_are_chosen(visit: Visit) -> None:
    stock.rolled_up(visit.app)
    visit.go("/")
    for name, value in (("range", "24h"), ("task", "mail.send"), ("queue", "normal")):
        visit.page.select_option(f"select[name={name}]", value)
        visit.page.wait_for_url(re.compile(f"{name}={value}"))
    drawn(visit)
    source = str(visit.page.get_attribute(ENDED, "data-source"))
    assert "range=24h" in source
    assert "task=mail.send" in source
    assert "queue=normal" in source


def test_a_task_shows_how_long_it_ran(visit: Visit) -> None:
    ends(visit, 5)
    visit.go("/tasks/mail.send")
    drawn(visit, "#chart-run")
    visit.page.click("#chart-run summary")
    visit.page.mouse.move(5, 5)
    table = visit.page.locator("#chart-run .scrolls")
    wait_until(lambda: "5 s" in table.inner_text(), within=60, saying="the attempts of five seconds")


def test_a_queue_shows_how_long_its_jobs_waited_and_ran(visit: Visit) -> None:
    ends(visit, 5)
    visit.go("/queues/normal")
    heat = "#chart-heat-run"
    drawn(visit, heat)
    visit.page.click(f"{heat} summary")
    visit.page.mouse.move(5, 5)
    table = visit.page.locator(f"{heat} .scrolls")
    wait_until(lambda: "3 s to 10 s" in table.inner_text(), within=60, saying="the attempts of five seconds")
    assert visit.violations() == []
    box = visit.page.locator(f"{heat} canvas").bounding_box()
    assert box is not None
    at = box["x"] + box["width"] - 12, box["y"] + box["height"] / 2  # of this minute
    visit.page.mouse.move(*at)
    readout = visit.page.locator(f"{heat} .readout")
    wait_until(lambda: " to " in readout.inner_text(), within=60, saying="it says what the pointer is at")
    visit.page.mouse.click(*at)
    visit.page.wait_for_url(re.compile("queue=normal.*finished-since="))
