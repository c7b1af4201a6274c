"""The console in a real Chromium: what a person sees, does and is kept from."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.operate.job import job
from tests import stock as rows
from tests.browser.visit import AXE, Visit
from tests.support import wait_until

pytestmark = pytest.mark.browser

DARK, LIGHT = "dark", "light"


def test_the_vendored_axe_is_what_was_published() -> None:
    digest, name = Path(AXE).with_name("axe.sha256").read_text().split()
    assert (name, hashlib.sha256(AXE.read_bytes()).hexdigest()) == (AXE.name, digest)


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_no_page_violates_a_rule_of_accessibility(visit: Visit, scheme: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    found = {}
    for path in visit.paths():
        visit.go(path)
        if violations := visit.violations():
            found[path] = violations
    assert found == {}


def test_every_page_fits_a_telephone(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 360, "height": 740})
    for path in visit.paths():
        visit.go(path)
        wide = visit.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, path


def test_every_page_weighs_little(visit: Visit) -> None:
    got = "performance.getEntries().reduce((sum, each) => sum + (each.decodedBodySize || 0), 0)"
    for path in visit.paths():
        visit.go(path)
        visit.page.wait_for_load_state("networkidle")
        assert 10_000 < visit.page.evaluate(got) <= 150_000, path


def test_a_page_shows_what_has_happened_since(visit: Visit) -> None:
    visit.go(f"/jobs/{visit.stock.waiting['id']}")
    visit.until("pending")
    from celeriac.operate.job import cancel

    cancel(str(visit.stock.waiting["id"]), app=visit.app)
    visit.until("it was cancelled at")


def test_a_page_stays_as_it_is_while_a_row_is_ticked(visit: Visit) -> None:
    visit.go("/jobs")
    box = visit.page.locator("tbody input[type=checkbox]").first
    box.check()
    ticked = visit.read_at()
    visit.page.mouse.move(5, 5)
    visit.until("read 6 s ago")
    assert visit.read_at() == ticked
    box.uncheck()
    visit.page.mouse.move(5, 5)
    visit.page.evaluate("document.activeElement.blur()")
    wait_until(lambda: visit.read_at() != ticked, within=60, saying="the page is read anew")


def test_a_page_is_stopped_and_goes_on_by_a_key(visit: Visit) -> None:
    visit.go("/jobs")
    visit.page.keyboard.press("p")
    stopped = visit.read_at()
    older = re.compile(r"stopped, ([6-9] s|\d\d+ s|\d+ min)")  # than any page that is read anew
    wait_until(lambda: older.search(visit.text()), within=60, saying="the page says since when it is stopped")
    assert visit.read_at() == stopped
    visit.page.keyboard.press("p")
    wait_until(lambda: visit.read_at() != stopped, within=60, saying="the page is read anew")
    assert visit.violations() == []


def test_a_console_that_does_not_answer_is_told_of(visit: Visit) -> None:
    """What is seen is old then: nobody must act on it unaware."""
    visit.go("/jobs")
    visit.page.context.set_offline(True)
    visit.until("The console does not answer. What you see was read")
    visit.page.context.set_offline(False)
    wait_until(lambda: "does not answer" not in visit.text(), within=60, saying="it is gone by itself")
    offline = ("ERR_INTERNET_DISCONNECTED", "Failed to fetch")
    assert [each for each in visit.complaints if not any(words in each for words in offline)] == []
    visit.complaints.clear()


def test_a_job_is_found_by_its_id_or_the_beginning_of_it(visit: Visit) -> None:
    id = str(visit.stock.failed["id"])
    visit.go("/queues")
    for typed in (id, f" {id[:-2]}"):
        visit.page.keyboard.press("g")
        visit.page.keyboard.type(typed)
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_url(re.compile(f"/jobs/{id}$"))
        visit.go("/queues")
    visit.page.fill("#go", id[:4])
    visit.page.press("#go", "Enter")
    visit.page.wait_for_url(re.compile("id-prefix"))
    assert visit.page.locator("tbody tr[data-href]").count() == 7, "several begin so: they are listed"


def test_all_rows_of_a_page_are_ticked_at_once_and_the_buttons_stay_in_sight(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 900, "height": 400})
    visit.go("/jobs")
    visit.page.click("thead input[type=checkbox]")
    assert visit.page.locator("tbody input:checked").count() == 7
    assert visit.page.inner_text(".ticked") == "7 ticked;"
    assert (
        visit.page.locator("button[value=cancel]").evaluate("one => one.getBoundingClientRect().bottom")
        <= 400
    )
    visit.page.click("tbody input[type=checkbox] >> nth=0")
    assert visit.page.inner_text(".ticked") == "6 ticked;"
    visit.page.click("button[value=cancel]")
    visit.until("6 chosen")


def test_a_failure_is_muted_on_a_telephone(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 844})
    visit.go("/dead")
    visit.page.click("text=KeyError")
    visit.page.wait_for_url(re.compile("/dead/"))
    visit.page.select_option("select[name=for]", "8h")
    visit.page.fill("input[name=reason] >> nth=0", "see OPS-12")
    visit.page.click("button[value=mute]")
    visit.until("muted by local")
    assert visit.violations() == []
    visit.go("/dead")
    visit.until("see OPS-12")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visit.violations() == []


def test_what_could_harm_is_seen_as_text(visit: Visit) -> None:
    hostile = "<script>document.title='owned'</script>\x1b[31m\u202egnp"
    row = rows.failed(job_type=hostile, failure_info=hostile, queue=hostile, user_id=hostile)
    with visit.app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row])
        connection.execute(insert(FAILURES), [rows.failure(row, exception=hostile, traceback=hostile)])
    for path in ("/jobs", f"/jobs/{row['id']}", "/dead", "/tasks"):
        visit.go(path)
        visit.until("<script>document.title='owned'</script>\\x1b[31m\\u202egnp")
        assert "owned" not in visit.page.title().replace("document.title='owned'", "")
        assert "\u202e" not in visit.text()


def test_the_keyboard_leads_through_the_rows(visit: Visit) -> None:
    visit.go("/jobs")
    visit.page.keyboard.press("j")
    visit.page.keyboard.press("j")
    visit.page.keyboard.press("k")
    assert visit.page.locator("tr.selected").count() == 1
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}$"))
    visit.go("/jobs")
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("mail.send")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url(re.compile("task=mail.send"))
    visit.page.keyboard.press("?")
    assert visit.page.locator("dialog[open]").count() == 1


def test_moments_are_in_utc_local_or_spans(visit: Visit) -> None:
    visit.go(f"/jobs/{visit.stock.failed['id']}")
    moment = visit.page.locator(".timeline time").first
    shown = [moment.inner_text()]
    for _ in range(2):
        visit.page.click("#times")
        shown.append(moment.inner_text())
    assert shown[0].endswith("UTC")
    assert shown[1] != shown[0].removesuffix(" UTC"), "the browser is in Tokyo"
    assert shown[2].endswith("ago")


def test_light_and_dark_are_chosen_and_kept(visit: Visit) -> None:
    visit.page.emulate_media(color_scheme=LIGHT)
    visit.go("/jobs")

    def ground() -> Any:
        return visit.page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = ground()
    visit.page.click("#theme")
    dark = ground()
    assert light != dark
    visit.go("/dead")
    assert ground() == dark


def test_the_colour_of_the_environment_is_the_same_in_the_dark(visit: Visit) -> None:
    """Red is production, whoever prefers what."""
    seen = []
    for scheme in (LIGHT, DARK):
        visit.page.emulate_media(color_scheme=scheme)
        visit.go("/jobs")
        seen.append(visit.page.evaluate("getComputedStyle(document.querySelector('.env')).backgroundColor"))
    assert seen[0] == seen[1]


def test_a_dead_letter_is_found_read_and_replayed_in_a_few_clicks(visit: Visit) -> None:
    visit.go("/")
    visit.page.click("text=KeyError")
    visit.page.wait_for_url(re.compile("/dead/"))
    visit.until("in send")
    visit.page.click("button:has-text('replay')")
    visit.until("replay 1 job?")
    visit.page.click("main button:has-text('replay')")
    visit.until("replay: done")
    assert job(str(visit.stock.failed["id"]), app=visit.app).state == "pending"


def test_a_dead_letter_is_edited_and_replayed_and_its_page_says_who_did_it(visit: Visit) -> None:
    visit.go(f"/jobs/{visit.stock.failed['id']}")
    visit.page.click("text=edit and replay")
    visit.page.fill("textarea[name=value-to]", '"you"')
    visit.page.click("text=what is different?")
    visit.page.wait_for_selector("ins")
    assert "you" in visit.page.inner_text("ins")
    visit.page.fill("input[name=reason]", "a wrong address")
    visit.page.click("text=replay with these")
    visit.until("replayed with these arguments")
    visit.until("a wrong address")
    visit.page.click("text=Audit")
    visit.until("with other arguments")
    visit.page.click("tbody a >> nth=0")
    visit.page.wait_for_url(re.compile(str(visit.stock.failed["id"])))


def test_a_canary_is_watched_and_stopped(visit: Visit) -> None:
    dead = [rows.failed() for _ in range(20)]
    with visit.app.database.transaction() as connection:
        connection.execute(insert(JOBS), dead)
        connection.execute(insert(FAILURES), [rows.failure(row) for row in dead])
    visit.go("/dead")
    visit.page.check("tbody input[type=checkbox] >> nth=0")
    visit.page.click("text=canary replay")
    visit.until("Five jobs go first")
    visit.page.click("main button.danger")
    visit.until("the first 5 jobs are on their way")
    assert visit.violations() == []
    visit.page.click("button:has-text('stop')")
    visit.until("replay: stopped")
    visit.until("stopped by local")


def test_a_secret_is_revealed_in_its_place(visit: Visit) -> None:
    visit.go(f"/jobs/{visit.stock.failed['id']}")
    assert "hunter2" not in visit.page.content()
    visit.page.click("text=reveal")
    visit.until("hunter2")
    assert str(visit.page.url).endswith(str(visit.stock.failed["id"]))


def test_the_next_runs_are_shown_while_the_form_stays(visit: Visit) -> None:
    visit.go("/new-schedule")
    visit.page.fill("input[name=when]", "30 2 * * *")
    visit.page.fill("input[name=name]", "mine")
    visit.page.wait_for_selector("#runs li:has-text('02:30')")  # nobody has pressed anything
    visit.page.select_option("select[name=kind]", "every")
    visit.page.wait_for_selector("#runs:has-text('wanted a number')")
    visit.page.fill("input[name=when]", "90")
    visit.page.wait_for_selector("#runs li")
    visit.page.click("text=when would it run?")
    assert visit.page.locator("#runs li").count() == 5
    assert visit.page.input_value("input[name=name]") == "mine"


def test_an_open_page_says_that_the_session_has_ended(visit: Visit) -> None:
    visit.go("/jobs")
    visit.page.context.clear_cookies()
    visit.until("your session has ended")
    assert not visit.page.locator("tbody").count(), "nothing of a job is left to be seen"
    assert not visit.page.is_visible("#age"), "it is not live any more"
    assert visit.violations() == []


def test_the_browser_is_let_in_no_further_after_the_log_out(visit: Visit) -> None:
    visit.go("/jobs")
    visit.page.click("text=log out")
    visit.page.wait_for_url(re.compile("/login"))
    visit.go("/jobs")
    visit.until("Log in")
