"""The operator's commands on both databases: what they find, what they refuse, what they ask first."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, make_url

from celeriac.application import Celeriac
from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.models import FAILURES, JOBS, WORKERS
from celeriac.operate.dead_letters import Cause
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import build, mail_app
from tests.commands import call, said, told
from tests.stock import SECOND, Stock, before

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = mail_app(Settings(database_url=database_url, broker_url=redis_url), name="operator")
    yield made
    made.database.close()  # which a test may have put in place of the first


@pytest.fixture
def full(app: Celeriac) -> Stock:
    """What is in the ledger of ``app``."""
    return stock.filled(app)


def write(app: Celeriac, *jobs: dict[str, Any]) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), list(jobs))


def ids(app: Celeriac, *words: object) -> list[str]:
    return [one["id"] for one in told(app, "jobs", "list", *words)["jobs"]]


# Lists


def test_a_list_is_of_the_newest_first(app: Celeriac, full: Stock) -> None:
    assert ids(app) == [str(one["id"]) for one in reversed(full.jobs)]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--state", "failed"], ["failed"]),
        (["--queue", "high"], ["running"]),
        (["--user", "u2"], ["waiting"]),
        (["--schedule", "nightly"], ["failed"]),
        (["--error", "oserror: 100%_AWAY"], ["later"]),
        (["--error", "100%aw"], []),
        (["--task", stock.NASTY], ["cancelled"]),
        (["--since", "650s", "--until", "350s"], ["parked", "later", "waiting"]),
        (["--since", lambda: before(450).isoformat(), "--state", "pending"], ["parked"]),
        (["--finished-since", "698s", "--finished-until", "1s"], ["cancelled", "failed"]),
        (["--finished-until", lambda: before(696).isoformat()], ["failed", "completed"]),
        (["--sort", "finished", "--state", "completed"], ["completed"]),
        (["--sort", "finished"], ["cancelled", "failed", "completed"]),
        (["--sort", "due"], ["waiting", "later", "parked"]),
        (["--sort", "longest"], ["running"]),
        (["--sort", "oldest", "--limit", "2"], ["completed", "running"]),
    ],
)
def test_a_list_is_of_what_fits(app: Celeriac, full: Stock, words: list[Any], names: list[str]) -> None:
    asked = [word() if callable(word) else word for word in words]
    assert ids(app, *asked) == [str(getattr(full, name)["id"]) for name in names]


@pytest.mark.parametrize("sort", ["newest", "oldest", "due"])
def test_pages_show_every_job_once(app: Celeriac, sort: str) -> None:
    moment = before(60)
    same = [stock.pending(queued=moment - one // 3 * SECOND) for one in range(10)]
    write(app, *same)
    seen, after = [], []
    while True:
        page = told(app, "jobs", "list", "--sort", sort, "--limit", 3, *after)
        seen += [one["id"] for one in page["jobs"]]
        if page["next"] is None:
            break
        after = ["--after", page["next"]]
    assert sorted(seen) == sorted(str(one["id"]) for one in same)
    assert len(seen) == 10
    assert seen == ids(app, "--sort", sort)


def test_an_id_prefix_narrows(app: Celeriac, full: Stock) -> None:
    id = str(full.failed["id"])
    assert ids(app, "--id-prefix", id[:-1]) == [one for one in ids(app) if one.startswith(id[:-1])]
    assert id in ids(app, "--id-prefix", id)


def test_a_list_without_a_job_says_so_and_ends_with_1(app: Celeriac) -> None:
    found = call(app, "jobs", "list")
    assert (found.exit_code, found.stdout, found.stderr) == (1, "", "no job fits\n")


@pytest.mark.parametrize("columns", [60, 80, 130, 200])
def test_a_list_of_any_width_says_all_that_it_knows_of_a_job(
    app: Celeriac, full: Stock, columns: int
) -> None:
    long = stock.failed(job_type="task." * 40, failure_info="much to say " * 40, queue="high", user_id="u9")
    write(app, long)
    told = call(app, "jobs", "list", "--user", "u9", columns=columns).stdout
    assert max(map(len, told.splitlines())) <= columns
    said = " ".join(told.split())
    for word in (
        f"{long['id']} failed",
        "1 min ago",
        "1/5",
        "task.task",
        "high",
        "u9",
        "celery@one",
        "much to",
    ):
        assert word in said


@pytest.mark.parametrize(
    "typed", [["stats"], ["schedules", "list"], ["workers"], ["dead-letters", "list"], ["queues"]]
)
def test_a_narrow_terminal_loses_no_column(app: Celeriac, full: Stock, typed: list[str]) -> None:
    call(app, "schedules", "add", "nightly", "mail.send", "--cron", "0 3 * * mon-fri", "--args", '["you"]')
    wide, narrow = (call(app, *typed, columns=columns).stdout for columns in (300, 80))
    assert max(map(len, narrow.splitlines())) <= 80
    rows = wide.partition("\n\n")[0].splitlines()[2:]
    words = set(re.split(r"[\s,·–]+", " ".join(rows)))
    names = {word for word in words if word and not word[0].isdigit()}  # ages go on
    assert len(names) > 3
    assert names <= set(re.split(r"[\s,]+", narrow))


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_nothing_in_a_row_acts_on_the_terminal_or_makes_a_line(
    app: Celeriac, full: Stock, columns: int
) -> None:
    found = call(app, "jobs", "list", columns=columns)
    assert found.exit_code == 0
    jobs = {str(one["id"]) for one in full.jobs}
    heads = [line for line in found.stdout.splitlines() if not line.startswith("  ")][-len(jobs) :]
    assert {line.split()[0] for line in heads} == jobs
    assert [line for line in found.stdout.splitlines() if line.strip().startswith("forged")] == []
    for words in (["jobs", "show", full.failed["id"]], ["dead-letters", "list"]):
        found = call(app, *words)
        assert "forged line" not in [line.strip() for line in found.stdout.splitlines()]
        assert not set("\x1b\r\u202e") & set(found.stdout)
    assert "\\x1b[2J\\r" in call(app, "jobs", "show", full.failed["id"]).stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["list", "--since", "yesterday"], "wanted 90s, 15m, 2h, 3d or an ISO 8601 moment"),
        (["list", "--after", "there"], "after: wanted the key that ended the page before"),
        (["list", "--id-prefix", "xyz"], "wanted a job's id or the beginning of one"),
        (["list", "--task", "\udcff"], "--task: NUL and lone surrogates cannot be stored"),
        (["list", "--error", ""], "--error: wanted text, found an empty one"),
        (["list", "--state", "done"], "'done' is not one of"),
        (["show", "not\nan-id"], "wanted no control characters"),
        (["cancel"], "name ids or a filter"),
        (["cancel", "0192", "--task", "mail.send"], "not both"),
        (["enqueue", "mail.send", "--kwarg", "to"], "wanted NAME=JSON"),
        (["enqueue", "mail.send", "--arg", "you"], "a text needs its quotes"),
        (["enqueue", "mail.send"], "mail.send: send() missing 1 required positional argument: 'to'"),
        (["enqueue", "mail.send", "-a", "1", "--queue", "high.low"], "must not be or end in a level"),
        (["enqueue", "mail.send", "-a", "1", "--priority", "urgent"], "wanted one of low"),
        (["enqueue", "mail.send", "-a", "1", "--priority", "9" * 5000], "wanted one of low"),
        (["enqueue", "mail.send", "-a", "1", "--priority", "\u00b2"], "wanted one of low"),
        (["enqueue", "mail.send", "-k", f"to={'[' * 100_000}"], "the value of to is no JSON"),
        (["enqueue", "mail.sent"], "did you mean 'mail.send'?"),
    ],
)
def test_what_is_typed_wrongly_is_said_and_ends_with_2(
    app: Celeriac, words: list[str], sentence: str
) -> None:
    found = call(app, "jobs", *words)
    assert found.exit_code == 2
    assert sentence in " ".join(found.stderr.split())


# One job


def test_a_job_is_shown_by_the_beginning_of_its_id(app: Celeriac, full: Stock) -> None:
    write(app, one := stock.job(id=uuid4(), result='{"token": "sesame", "n": 1}'))
    found = call(app, "jobs", "show", str(one["id"])[:13])
    assert found.exit_code == 0
    assert str(one["id"]) in found.stdout
    assert "you@example.org" in found.stdout
    assert "hunter2" not in found.stdout
    assert "sesame" not in found.stdout
    revealed = call(app, "jobs", "show", one["id"], "--reveal").stdout
    assert "hunter2" in revealed
    assert "sesame" in revealed


def test_a_job_is_shown_with_its_way_and_its_tracebacks(app: Celeriac, full: Stock) -> None:
    shown = told(app, "jobs", "show", full.failed["id"])["job"]
    callbacks = [event["what"] for event in shown["timeline"]]
    assert callbacks == [
        "accepted for the queue normal",
        "message sent",
        "attempt 1 began on celery@one",
        "attempt 1 ended, error: KeyError",
        "failed",
    ]
    assert "Traceback (most recent call last):\n  File" in call(app, "jobs", "show", full.failed["id"]).stdout


def test_a_job_names_its_worker_also_when_it_has_ended(app: Celeriac, full: Stock) -> None:
    found = told(app, "jobs", "show", full.completed["id"])["job"]
    assert (found["worker"], found["last_worker_id"]) == ("celery@one", str(stock.WORKER))
    assert found["worker_id"] is None
    assert "attempt 1 began on celery@one" in call(app, "jobs", "show", full.completed["id"]).stdout
    (attempt,) = told(app, "jobs", "show", full.failed["id"])["job"]["attempts"]
    assert (attempt["worker"], attempt["version"]) == ("celery@one", "0.1.0")
    assert job(str(full.running["id"]), app=app).worker == "celery@one"


def test_every_attempt_of_a_job_is_listed_the_successful_one_too(app: Celeriac) -> None:
    """Each with its worker, that worker's version, when it began and how long it took."""
    second, began = UUID(int=2), before(300)
    one = stock.job(
        queued=before(400), started=began, finished=before(290), try_count=2, last_worker_id=second
    )
    with app.database.transaction() as connection:
        later = stock.worker(id=second, hostname="celery@two", version="0.2.0", code_version="v8")
        connection.execute(insert(WORKERS), [stock.worker(), later])
        connection.execute(insert(JOBS), [one])
        first = stock.failure(one, attempt=1, started=before(390))
        connection.execute(insert(FAILURES), [first])
    shown = told(app, "jobs", "show", one["id"])["job"]["attempts"]
    who = [(each["attempt"], each["kind"], each["worker"], each["version"]) for each in shown]
    assert who == [(1, "error", "celery@one", "0.1.0"), (2, "completed", "celery@two", "0.2.0")]
    assert [each["code_version"] for each in shown] == ["v7", "v8"]
    assert datetime.fromisoformat(shown[1]["started"]) == began
    printed = call(app, "jobs", "show", one["id"]).stdout
    assert re.search(
        r"^2 completed on celery@two \(v8, Celeriac 0\.2\.0\), began 2\S+ \S+ UTC, took 10",
        printed,
        re.MULTILINE,
    )


@pytest.mark.parametrize(("name", "kind"), [("running", "running"), ("waiting", None), ("failed", "error")])
def test_the_last_attempt_is_listed_while_it_runs(
    app: Celeriac, full: Stock, name: str, kind: str | None
) -> None:
    attempts = told(app, "jobs", "show", getattr(full, name)["id"])["job"]["attempts"]
    assert [each["kind"] for each in attempts] == ([] if kind is None else [kind])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("later", "next     attempt 2 is due at 2"),
        ("waiting", "next     attempt 1 is due at 2"),
        ("parked", "next     attempt 1 waits for other jobs"),
    ],
)
def test_a_waiting_job_says_when_it_runs_next(app: Celeriac, full: Stock, name: str, words: str) -> None:
    assert words in call(app, "jobs", "show", getattr(full, name)["id"]).stdout
    assert "\nnext " not in call(app, "jobs", "show", full.completed["id"]).stdout


def test_an_unknown_id_is_said(app: Celeriac, full: Stock) -> None:
    for command in ("show", "explain", "cancel"):
        found = call(app, "jobs", command, uuid4())
        assert found.exit_code == 1
        assert "the ledger has no job" in said(found)


def test_the_beginning_of_several_ids_is_refused_with_some_of_them(app: Celeriac, full: Stock) -> None:
    found = call(app, "jobs", "show", str(full.failed["id"])[:6])
    assert found.exit_code == 1
    assert "more than one job's id begins with" in found.stderr


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("completed", "ended"),
        ("running", "running"),
        ("waiting", "stranded"),
        ("later", "not due"),
        ("parked", "waits for replacement"),
    ],
)
def test_a_job_is_explained_from_the_facts(app: Celeriac, full: Stock, name: str, reason: str) -> None:
    found = told(app, "jobs", "explain", getattr(full, name)["id"])["explanation"]
    assert found["reason"] == reason
    assert call(app, "jobs", "explain", getattr(full, name)["id"]).exit_code == 0


def test_what_goes_before_a_job_is_counted(app: Celeriac) -> None:
    first = stock.pending(queued=before(9))
    better = stock.pending(queue="critical", priority=30)
    unsent = stock.pending(dispatched=None, priority=15, queued=before(7))
    mine, undue = stock.pending(), stock.pending(dispatched=None, next_attempt_after=before(-99))
    mine["queued"] = mine["dispatched"] = mine["next_attempt_after"] = before(5)
    write(app, first, better, unsent, mine, undue)
    with app.database.transaction() as connection:
        stock.sign_on(connection)
    with app.connection_or_acquire() as connection:
        for queue, text in (("normal", "1"), ("normal", "2"), ("critical", "3")):
            connection.default_channel.client.lpush(queue, text)
    found = told(app, "jobs", "explain", mine["id"])["explanation"]
    assert (found["reason"], "2 more important or earlier jobs" in found["sentence"]) == (
        "behind others",
        True,
    )
    found = told(app, "jobs", "explain", unsent["id"])["explanation"]
    assert "3 more important or earlier jobs" in found["sentence"]


# Cancel


def test_one_job_is_cancelled_without_a_question(app: Celeriac, full: Stock) -> None:
    id = full.waiting["id"]
    found = call(app, "jobs", "cancel", id)
    assert (found.exit_code, found.stdout) == (0, f"{id} cancelled\n")
    assert job(str(id), app=app).state == "cancelled"


@pytest.mark.parametrize(("verb", "left"), [("replay", 2), ("discard", 1)])
def test_dead_letters_of_a_filter_are_counted_asked_for_and_met(
    app: Celeriac, full: Stock, verb: str, left: int
) -> None:
    write(app, stock.failed(user_id="u9"), stock.job(user_id="u9"))
    assert call(app, "jobs", verb, "--user", "u9", "--dry-run").stdout == f"would {verb} 1\n"
    asked = call(app, "jobs", verb, "--user", "u9", answer="n\n")
    assert (asked.exit_code, f"{verb} 1 dead letter?" in asked.stderr) == (1, True)
    assert len(ids(app, "--user", "u9", "--state", "failed")) == 1
    assert told(app, "jobs", verb, "--user", "u9", "--yes")["count"] == 1
    assert len(ids(app, "--user", "u9")) == left
    assert ids(app, "--user", "u9", "--state", "failed") == []
    assert job(str(full.failed["id"]), app=app).state == "failed"
    assert call(app, "jobs", verb, "--user", "u9", "--yes").exit_code == 1


@pytest.mark.parametrize("words", [[], ["--state", "pending"]])
def test_dead_letters_are_not_all_meant_by_no_filter(app: Celeriac, full: Stock, words: list[str]) -> None:
    assert call(app, "jobs", "replay", "--yes", *words).exit_code == 2
    assert job(str(full.failed["id"]), app=app).state == "failed"


def test_a_job_that_has_ended_is_not_cancelled(app: Celeriac, full: Stock) -> None:
    found = call(app, "jobs", "cancel", full.completed["id"])
    assert (found.exit_code, "finished: completed" in found.stdout) == (1, True)


def test_many_are_counted_and_asked_for_before_they_are_cancelled(app: Celeriac, full: Stock) -> None:
    words = ("jobs", "cancel", "--task", "mail.send")
    assert call(app, *words, "--dry-run").stdout == "would cancel 4 jobs\n"
    refused = call(app, *words, answer="n\n")
    assert (refused.exit_code, "cancel 4 jobs for ever?" in refused.stderr) == (1, True)
    assert call(app, *words, answer="").exit_code == 1
    assert len(ids(app, "--state", "cancelled")) == 1
    done = call(app, *words, "--yes")
    assert (done.exit_code, done.stdout) == (0, "cancelled 3 jobs; asked 1 job that runs to stop\n")
    assert len(ids(app, "--state", "cancelled")) == 4
    assert job(str(full.running["id"]), app=app).cancel_requested == "soft"


def test_nobody_is_said_to_be_asked_to_stop_where_nothing_runs(app: Celeriac, full: Stock) -> None:
    done = call(app, "jobs", "cancel", "--state", "pending", "--yes")
    assert done.stdout == "cancelled 2 jobs\n"


def test_a_dry_run_of_ids_cancels_nothing(app: Celeriac, full: Stock) -> None:
    found = told(app, "jobs", "cancel", full.waiting["id"], "--dry-run")
    assert (found["dry_run"], found["count"]) == (True, 1)
    assert job(str(full.waiting["id"]), app=app).state == "pending"


def test_celerys_own_purge_counts_the_jobs_that_it_cancels(app: Celeriac) -> None:
    app.tasks["mail.send"].apply_async(("me",), queue="low")
    app.tasks["mail.send"].apply_async(("me",), queue="low", countdown=60)
    kept = app.tasks["mail.send"].delay("me")
    found = call(app, "purge", "-f", "-Q", "low")
    assert found.stdout.strip() == "Purged 2 messages from 1 known task queue."
    assert len(ids(app, "--state", "cancelled", "--queue", "low")) == 2
    assert job(kept.id, app=app).state == "pending"


# Enqueue


def test_a_job_is_enqueued_as_it_was_typed(app: Celeriac, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"args": ["me"], "kwargs": {"password": "x"}}))
    words = [
        "--json-file",
        file,
        "-k",
        'password="y"',
        "--priority",
        "high",
        "--countdown",
        60,
        "--user",
        "u",
    ]
    id = call(app, "jobs", "enqueue", "mail.send", *words).stdout.strip()
    found = job(id, app=app)
    assert (found.args, found.kwargs, found.queue) == (["me"], {"password": "y"}, "high")
    assert (found.user_id, found.dispatched) == ("u", None)


def test_a_key_that_is_typed_again_is_the_same_job(app: Celeriac) -> None:
    words = ("jobs", "enqueue", "mail.send", "--arg", '"me"', "--idempotency-key", "42")
    assert told(app, *words)["id"] == told(app, *words)["id"]
    assert len(ids(app)) == 1


def test_a_task_that_is_not_there_is_named_with_the_nearest(app: Celeriac) -> None:
    found = call(app, "jobs", "enqueue", "mail.sent")
    assert found.exit_code == 2
    assert "did you mean 'mail.send'?" in found.stderr


# Dead letters


SAID = "cannot be reached"


def dead(app: Celeriac, count: int) -> list[str]:
    letters = [stock.failed(failure_info="OSError: no") for _ in range(count)]
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), letters)
        failures = [
            stock.failure(one, exception_type="OSError", frame="mail.py:open", exception=SAID)
            for one in letters
        ]
        connection.execute(insert(FAILURES), failures)
    return [str(one["id"]) for one in letters]


def test_dead_letters_are_listed_by_their_cause(app: Celeriac, full: Stock) -> None:
    letters = dead(app, 3)
    groups = told(app, "dead-letters", "list")["groups"]
    assert [(one["exception_type"], one["count"]) for one in groups] == [("OSError", 3), ("KeyError", 1)]
    shown = told(app, "dead-letters", "show", groups[0]["key"])
    assert shown["ids"] == letters
    assert groups[0]["example"] == "cannot be reached"
    assert "cannot be reached" in call(app, "dead-letters", "list").stdout
    assert call(app, "dead-letters", "show", groups[0]["key"]).exit_code == 0


def test_a_group_is_replayed_and_the_others_stay_dead(app: Celeriac, full: Stock) -> None:
    dead(app, 3)
    key = told(app, "dead-letters", "list")["groups"][0]["key"]
    assert call(app, "dead-letters", "replay", key, "--dry-run").stdout == "would replay 3\n"
    refused = call(app, "dead-letters", "replay", key, answer="n\n")
    assert (refused.exit_code, "replay 3 dead letters?" in refused.stderr) == (1, True)
    assert told(app, "dead-letters", "replay", key, "--yes", "--rate", 100)["count"] == 3
    assert ids(app, "--state", "failed") == [str(full.failed["id"])]
    again = call(app, "dead-letters", "replay", key)
    assert (again.exit_code, "no group of dead letters has the key" in again.stderr) == (1, True)


def test_a_group_without_an_exception_is_not_all_of_its_task(app: Celeriac, full: Stock) -> None:
    """A dead letter may have no attempt behind it: its group has no exception and no frame."""
    write(app, never := stock.failed())
    groups = {one["exception_type"]: one for one in told(app, "dead-letters", "list")["groups"]}
    assert told(app, "dead-letters", "discard", groups[None]["key"], "--yes")["count"] == 1
    assert ids(app, "--state", "failed") == [str(full.failed["id"])]
    assert str(never["id"]) not in ids(app)


def test_one_dead_letter_is_replayed_with_other_arguments(app: Celeriac, full: Stock) -> None:
    id = full.failed["id"]
    refused = call(app, "dead-letters", "replay", id, "--edit-args", "[1, 2, 3]")
    assert (refused.exit_code, "multiple values for argument 'password'" in refused.stderr) == (2, True)
    assert call(app, "dead-letters", "replay", id, "--edit-args", '["me"]').stdout == "replayed 1\n"
    assert (job(str(id), app=app).args, job(str(id), app=app).state) == (["me"], "pending")
    assert call(app, "dead-letters", "replay", id).exit_code == 1


def test_dead_letters_of_a_cause_are_discarded(app: Celeriac, full: Stock) -> None:
    dead(app, 2)
    assert call(app, "dead-letters", "discard", "--exception", "OSError", "--yes").stdout == "discarded 2\n"
    assert call(app, "dead-letters", "discard", full.failed["id"]).exit_code == 0
    assert call(app, "dead-letters", "discard", full.completed["id"]).exit_code == 1
    assert call(app, "dead-letters", "list").stderr == "there is no dead letter\n"


@pytest.mark.parametrize("words", [[], ["0a1b2c3d", "--all"], ["--task", "x", "--all"]])
def test_what_is_meant_must_be_said_in_one_way(app: Celeriac, words: list[str]) -> None:
    for verb in ("replay", "discard"):
        assert call(app, "dead-letters", verb, *words).exit_code == 2


# The platform


def test_queues_are_told_from_the_ledger_and_the_broker(app: Celeriac, full: Stock) -> None:
    write(app, stock.job(), stock.failed(), stock.failed(), stock.pending(dispatched=None))
    with app.connection_or_acquire() as connection:
        connection.default_channel.client.lpush("normal", "1", "2", "3")
    found = {one["name"]: one for one in told(app, "queues")["queues"]}
    assert list(found)[:4] == ["critical", "high", "normal", "low"]
    normal = found["normal"]
    assert (normal["due"], normal["later"], normal["parked"], normal["consumers"]) == (2, 1, 1, 1)
    assert (normal["in_broker"], normal["drift"]) == (3, -2)
    assert (normal["accepted"], normal["completed"], normal["failed"]) == (5, 1, 2)
    assert found["high"]["running"] == 1
    assert 590 < normal["oldest"] < 700


def test_a_queue_that_nobody_draws_from_is_said(app: Celeriac) -> None:
    write(app, stock.pending(queue="low", priority=0))
    assert "no live worker draws from low: celery -A app worker -Q low" in call(app, "queues").stderr


def test_queues_are_told_without_a_broker(full: Stock, database_url: str) -> None:
    settings = Settings(database_url=database_url, broker_url="redis://127.0.0.1:1/0")
    without = build(settings, name="without", set_as_current=False)
    found = call(without, "queues")
    without.close()
    assert (found.exit_code, "the broker cannot be asked" in found.stderr) == (0, True)


def test_workers_are_told_from_those_that_fell_silent(app: Celeriac, full: Stock) -> None:
    gone = stock.worker(id=uuid4(), hostname="celery@two", heartbeat=before(300))
    ended = stock.worker(id=uuid4(), hostname="celery@three", stopped=before(0))
    with app.database.transaction() as connection:
        connection.execute(insert(WORKERS), [gone, ended])
    found = {one["hostname"]: one for one in told(app, "workers")["workers"]}
    assert {name: one["state"] for name, one in found.items()} == {
        "celery@one": "alive",
        "celery@two": "silent",
        "celery@three": "stopped",
    }
    assert found["celery@one"]["running"] == 1
    (runs,) = found["celery@one"]["jobs"]
    assert (runs["id"], runs["task"], runs["attempt"]) == (str(full.running["id"]), "mail.send", 1)
    assert runs["seconds"] > 700
    assert str(full.running["id"]) in call(app, "workers").stdout
    assert "celery@two" not in call(app, "workers", "--since", "1m").stdout


def test_no_worker_ends_with_1(app: Celeriac) -> None:
    found = call(app, "workers")
    assert (found.exit_code, found.stderr) == (1, "no worker lives: celery -A app worker\n")


def test_stats_count_what_the_jobs_came_to(app: Celeriac, full: Stock) -> None:
    found = told(app, "stats")
    assert found["all"]["jobs"] == len(full.jobs)
    mail = next(one for one in found["tasks"] if one["task"] == "mail.send")
    assert (mail["states"]["completed"], mail["states"]["failed"], mail["failure_rate"]) == (1, 1, 0.5)
    assert (mail["wait_p50"], mail["run_p95"]) == (1.0, 2.0)
    assert told(app, "stats", "--queue", "high")["all"]["jobs"] == 1
    assert call(app, "stats", "--task", "nothing").exit_code == 1


def test_a_watch_counts_as_often_as_it_is_told(app: Celeriac, full: Stock) -> None:
    lines = call(app, "jobs", "watch", "--times", 2, "--interval", 0.1).stdout.splitlines()
    assert len(lines) == 2
    assert "1 due, 2 later, 1 running, 1 retrying" in lines[0]
    seen = json.loads(call(app, "jobs", "watch", "--times", 1, "--json").stdout)["seen"]
    assert (seen["accepted"], seen["completed"], seen["cancelled"]) == (1, 0, 1)


# On record


def test_what_a_command_does_is_on_record(app: Celeriac, full: Stock) -> None:
    assert call(app, "audit").exit_code == 1
    id = full.waiting["id"]
    call(app, "jobs", "cancel", id, "--reason", "asked for by mail")
    call(app, "jobs", "replay", "--task", "mail.send", "--yes")
    call(app, "jobs", "enqueue", "mail.send", "--arg", '"me"')
    found = told(app, "audit")["actions"]
    assert [one["action"] for one in found] == ["enqueue", "replay", "cancel"]
    assert {(one["who"], one["via"]) for one in found} == {(getpass.getuser(), "cli")}
    assert found[1]["subject"].startswith("--task mail.send --until ")
    assert (found[1]["counted"], found[1]["done"], found[1]["state"]) == (1, 1, "done")
    assert told(app, "audit", "--job", id)["actions"] == [found[2]]
    assert "because asked for by mail" in call(app, "audit", "--action", "cancel").stdout
    assert told(app, "audit", "--who", "nobody")["actions"] == []


def test_changes_of_schedules_are_on_record(app: Celeriac) -> None:
    call(app, "schedules", "add", "poll", "mail.send", "--every", "60", "--args", '["me"]')
    for verb in ("disable", "enable", "run-now", "remove"):
        assert call(app, "schedules", verb, "poll").exit_code == 0
    found = told(app, "audit")["actions"]
    verbs = ["remove", "run", "enable", "disable", "add"]
    assert [one["action"] for one in found] == [f"schedule {verb}" for verb in verbs]
    assert {one["subject"] for one in found} == {"poll"}


def test_jobs_that_wait_are_made_due_and_moved(app: Celeriac, full: Stock) -> None:
    id = str(full.later["id"])
    assert call(app, "jobs", "run-now", id).stdout == "made due 1\n"
    assert call(app, "jobs", "run-now", id).exit_code == 1
    words = ("jobs", "move", "--task", "mail.send", "--to-queue", "gpu")
    assert call(app, *words, "--dry-run").stdout == "would move 3\n"
    assert "move 3 jobs?" in call(app, *words, answer="n\n").stderr
    assert call(app, *words, "--yes").stdout == "moved 3\n"
    assert job(id, app=app).queue == "gpu.normal"
    assert job(str(full.running["id"]), app=app).queue == "high"
    assert call(app, "jobs", "move", id).exit_code == 2


def test_a_dead_letter_is_replayed_by_its_id_with_other_arguments(app: Celeriac, full: Stock) -> None:
    id = str(full.failed["id"])
    assert call(app, "jobs", "replay", id, "--args", "[1, 2, 3]").exit_code == 2
    assert call(app, "jobs", "replay", "--task", "mail.send", "--args", "[]").exit_code == 2
    assert call(app, "jobs", "replay", id, "--args", '["me"]').stdout == "replayed 1\n"
    assert job(id, app=app).args == ["me"]
    assert "with other arguments" in told(app, "audit")["actions"][0]["subject"]
    assert "me" not in told(app, "audit")["actions"][0]["subject"].split(", with")[1].split()


def test_a_clone_is_enqueued(app: Celeriac, full: Stock) -> None:
    made = call(app, "jobs", "clone", full.completed["id"]).stdout.strip()
    assert job(made, app=app).args == job(str(full.completed["id"]), app=app).args


# Shapes


COMMANDS = {
    "jobs-list": ["jobs", "list", "--state", "failed"],
    "jobs-show": ["jobs", "show", "{failed}"],
    "jobs-explain": ["jobs", "explain", "{failed}"],
    "jobs-cancel": ["jobs", "cancel", "{waiting}"],
    "jobs-replay": ["jobs", "replay", "--task", "mail.send", "--dry-run"],
    "jobs-discard": ["jobs", "discard", "--task", "mail.send", "--dry-run"],
    "jobs-enqueue": ["jobs", "enqueue", "mail.send", "--arg", '"me"'],
    "jobs-watch": ["jobs", "watch", "--times", "1"],
    "dead-letters-list": ["dead-letters", "list"],
    "dead-letters-show": ["dead-letters", "show", "{group}"],
    "dead-letters-replay": ["dead-letters", "replay", "{failed}", "--dry-run"],
    "dead-letters-discard": ["dead-letters", "discard", "{failed}", "--dry-run"],
    "queues": ["queues"],
    "workers": ["workers"],
    "stats": ["stats", "--task", "mail.send"],
    "doctor": ["doctor"],
}


def shape(value: Any) -> Any:
    """What kind of values stand where."""
    if isinstance(value, dict):
        return {key: shape(child) for key, child in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "null" if value is None else type(value).__name__


@pytest.mark.parametrize("name", COMMANDS)
def test_the_json_of_a_command_has_its_shape(app: Celeriac, full: Stock, name: str) -> None:
    """Who changes a shape changes docs/commands.md and, unless a field only comes, the version."""
    known = {name: one["id"] for name, one in vars(full).items() if isinstance(one, dict)}
    known["group"] = Cause(task="mail.send", exception_type="KeyError", frame="mail.py:send").key
    found = told(app, *(word.format(**known) for word in COMMANDS[name]))
    assert found["command"] == " ".join(word for word in COMMANDS[name][:2] if not word.startswith("-"))
    assert found["version"] == 1
    assert found["command"] == name.replace("jobs-", "jobs ").replace(
        "letters-", "letters "
    ) or name.endswith("letters-show")
    if name == "jobs-cancel":
        found["answers"] = dict(zip(["ID"], found["answers"].values(), strict=True))
    golden = GOLDEN / f"{name}.json"
    assert shape(found) == json.loads(golden.read_text()), json.dumps(shape(found), indent=2)


def test_every_golden_shape_is_of_a_command() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(COMMANDS)


# Mistakes that are not in what was typed


@pytest.mark.parametrize("words", [["jobs", "list"], ["dead-letters", "list"], ["queues"], ["stats"]])
def test_a_database_that_is_away_is_a_sentence(app: Celeriac, words: list[str]) -> None:
    app.database.close()
    app.database = Database(make_url("postgresql+psycopg://me:hunter2@127.0.0.1:1/none"), patience=1)
    found = call(app, *words)
    assert found.exit_code == 1
    assert found.stderr.startswith("error: the ledger's database cannot be reached: ")
    assert found.stderr.endswith("; see DATABASE_URL\n")
    assert "hunter2" not in said(found)


def test_a_database_without_tables_is_a_sentence(app: Celeriac, bare_database_url: str) -> None:
    app.database.close()
    app.database = Database(make_url(bare_database_url))
    found = call(app, "jobs", "list")
    assert (found.exit_code, "run `celery -A app db upgrade`" in found.stderr) == (1, True)
