"""What a page offers and says is true of what it shows: no button without effect, no wrong plural."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import insert, update

from celeriac import Limit, schedules
from celeriac.application import Celeriac
from celeriac.ids import new_id
from celeriac.ledger.schema.models import JOBS, SCHEDULES, WORKERS
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.console import Browser
from tests.stock import Stock, before
from tests.support import wait_until

REFRESHED = 'hx-trigger="refresh"'


@pytest.fixture
def app(redis_url: str, sqlite_url: str) -> Iterator[Celeriac]:
    lasting = {"worker_timeout": 600.0}  # the worker of the stock lives on, however slow this machine is
    made = mail_app(Settings(database_url=sqlite_url, broker_url=redis_url, **lasting), name="words")
    yield made
    made.close()


@pytest.fixture
def full(app: Celeriac) -> Stock:
    return stock.filled(app)


@pytest.fixture
def browser(app: Celeriac, full: Stock) -> Iterator[Browser]:
    made = Browser(app)
    yield made
    made.close()


def test_a_job_that_waits_for_others_has_no_button_that_would_not_change_it(
    browser: Browser, full: Stock
) -> None:
    button = 'value="run-now"'
    assert button in browser.page(f"/jobs/{full.later['id']}")
    assert button not in browser.page(f"/jobs/{full.parked['id']}")


def test_what_is_not_there_is_not_asked_for_again(browser: Browser) -> None:
    assert REFRESHED in browser.page("/jobs")
    gone = browser.get(f"/jobs/{new_id()}")
    assert gone.status_code == 404
    assert REFRESHED not in gone.text


def test_arguments_without_a_position_are_not_called_none(app: Celeriac, browser: Browser) -> None:
    row = stock.pending(payload=b'[[], {"to": "you"}, {}]')
    nothing = stock.pending(payload=b"[[], {}, {}]")
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row, nothing])

    def arguments(id: object) -> str:
        return browser.page(f"/jobs/{id}").split("<h2>Arguments</h2>")[1].split("<details>")[0]

    assert "none" not in arguments(row["id"])
    assert "none" in arguments(nothing["id"])


def test_a_remedy_is_set_like_a_command_only_if_it_is_one(app: Celeriac, browser: Browser) -> None:
    unknown = stock.pending(job_type="nobody.knows")
    undrawn = stock.pending(queue="gpu.normal")
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [unknown, undrawn])
    assert "→ start a worker of the code that has it" in browser.page(f"/jobs/{unknown['id']}")
    assert "→ <code>celery -A app worker -Q gpu.normal</code>" in browser.page(f"/jobs/{undrawn['id']}")


def test_the_overview_counts_what_is_held(app: Celeriac, browser: Browser) -> None:
    held = [stock.pending(queue="low", dispatched=None, held=before(5)) for _ in range(3)]
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), held)
    figure, words = "<dt>held</dt><dd>3</dd>", "3 jobs held by a limit"
    wait_until(
        lambda: figure in " ".join(browser.get("/").text.split()),
        within=60,
        saying="the overview counts them",
    )
    wait_until(lambda: words in browser.get("/queues").text, within=60, saying="their queue says so")


def test_an_audit_without_a_row_says_whether_a_filter_hides_them(browser: Browser) -> None:
    assert "nobody has done anything yet" in browser.page("/audit")
    assert "no action fits" in browser.page("/audit", who="ann")


def test_a_job_that_was_cancelled_while_it_waited_has_not_run_until_then(
    app: Celeriac, browser: Browser
) -> None:
    row = stock.job(state="cancelled", queued=before(3_000), started=before(2_000), finished=before(10))
    done = stock.job(started=before(20), finished=before(10))
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row, done])

    def ran(id: object) -> str:
        line = browser.page("/jobs").split(f'id="row-{id}"')[1].split("</tr>")[0]
        return line.split('data-name="ran for"')[1].split("</td>")[0].rpartition(">")[2]

    assert ran(row["id"]) == ""
    assert ran(done["id"]) == "10.0 s"


def test_the_options_of_a_task_say_where_they_are_set(app: Celeriac, browser: Browser) -> None:
    @app.task(name="pay", max_tries=3, timeout=90, limit=Limit("acquirer", concurrency=4), shared=False)
    def pay() -> None: ...

    told = {each["name"]: (each["value"], each["origin"]) for each in browser.json("/tasks/pay")["options"]}
    assert told["max_tries"] == ("3", "the task")
    assert told["timeout"] == ("1 min 30 s", "the task")
    assert told["retry_max"] == ("1 h", "CELERIAC_RETRY_MAX")
    assert told["ignore_result"] == ("no", "the default")
    assert told["limit"][0].startswith("Limit(name='acquirer', concurrency=4")
    assert "unique" not in told
    assert "<code>max_tries</code>" in browser.page("/tasks/pay")


def test_the_record_counts_jobs_only_where_jobs_were_met(
    app: Celeriac, browser: Browser, full: Stock
) -> None:
    schedules.register("poll", "mail.send", args=["a"], every=60, app=app)
    browser.post("/schedules/poll/act", action="disable")
    browser.post(f"/jobs/{full.failed['id']}/act", action="replay")
    lines = browser.page("/audit").split("<tr")[2:]
    counts = [line.split('data-name="jobs" class="r">')[1].split("</td>")[0] for line in lines]
    assert counts == ["1", ""]


def test_a_schedule_says_how_late_its_last_run_was(app: Celeriac, browser: Browser) -> None:
    schedules.register("poll", "mail.send", args=["a"], every=60, app=app)
    assert browser.json("/schedules/poll")["late"] is None
    due = before(30)
    made = [stock.job(schedule="poll", queued=due + number * stock.SECOND) for number in (-60, 3, 20)]
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), made)
        connection.execute(update(SCHEDULES).values(last_run=due))
    assert browser.json("/schedules/poll")["late"] == pytest.approx(3.0)
    assert "3.0 s late" in " ".join(browser.page("/schedules/poll").split())


def test_the_overview_names_the_jobs_of_a_silent_worker(app: Celeriac, browser: Browser, full: Stock) -> None:
    with app.database.transaction() as connection:
        connection.execute(update(WORKERS).values(heartbeat=before(1_200)))
    job, words = f'href="/jobs/{full.running["id"]}"', "holds 1 job: "

    def told() -> bool:
        page = browser.get("/").text
        return "Silent workers" in page and words + f"<a {job}>mail.send</a>" in page

    wait_until(told, within=60, saying="the overview names its job")


def test_a_job_that_a_pause_holds_has_the_button_that_lets_it_run(
    app: Celeriac, browser: Browser, full: Stock
) -> None:
    path, button = f"/jobs/{full.waiting['id']}", "resume the queue normal"
    assert button not in browser.page(path)
    browser.post("/pauses/act", kind="queue", name="normal", action="pause", reason="a move")
    assert button in browser.page(path)
    assert button not in browser.page(f"/jobs/{full.completed['id']}")
    browser.post("/pauses/act", kind="queue", name="normal", action="resume")
    assert button not in browser.page(path)
