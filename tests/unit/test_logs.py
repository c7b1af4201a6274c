"""Log lines: what they tell of a job, what they never tell, and that nothing can forge one."""

from __future__ import annotations

import ast
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from celery.app import trace
from structlog.stdlib import ProcessorFormatter

from celeriac.events import Event
from celeriac.headers import STAMP
from celeriac.ids import new_id
from celeriac.observe.logs import POOL_APPLIES, formatter
from celeriac.settings.platform import Settings
from tests.apps import build

ROOT = Path(__file__).resolve().parent.parent.parent
SECRET = "hunter2"


@pytest.fixture(scope="module")
def app() -> Any:
    settings = Settings(broker_url="redis://127.0.0.1:1/0", database_url="sqlite:///nowhere/ledger.db")
    return build(settings, set_as_current=False)


def record(message: object, *args: object, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("app.some", level, "", 1, message, args, extra.pop("exc_info", None))  # type: ignore[arg-type]
    vars(made).update(extra)
    return made


def text(app: Any, made: logging.LogRecord, *, colours: bool = False) -> str:
    return formatter(app, log_format="text", colours=colours).format(made)


def told(app: Any, made: logging.LogRecord) -> dict[str, Any]:
    line = formatter(app, log_format="json").format(made)
    assert "\n" not in line
    value: dict[str, Any] = json.loads(line)
    return value


def of_celery(form: str, **more: Any) -> logging.LogRecord:
    data = {"id": new_id(), "name": "mail.send", "args": SECRET, "kwargs": SECRET, **more}
    return record(form, data, data=data)


def test_a_machine_gets_event_sentence_and_fields(app: Any) -> None:
    found = told(app, record(Event.STRANDED, {"jobs": 3}, level=logging.WARNING))
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "event": "stranded",
        "message": "the broker lost 3 messages; they are sent again",
        "jobs": 3,
        "level": "warning",
        "logger": "app.some",
    }


def test_people_get_the_sentence_once_and_the_name_of_the_event(app: Any) -> None:
    found = text(app, record(Event.STRANDED, {"jobs": 3}, level=logging.WARNING))
    sentence = "the broker lost 3 messages; they are sent again"
    assert re.fullmatch(rf"\S+Z WARNING  {sentence} event=stranded", found)
    assert "\x1b[33mWARNING" in text(app, record("x", level=logging.WARNING), colours=True)


def test_a_line_about_a_job_names_it(app: Any) -> None:
    job = new_id()
    found = text(app, record(Event.LATE_OUTCOME, {"job": job, "attempt": 2}))
    assert found.endswith(f"job={job} attempt=2 event=late_outcome")


@pytest.mark.parametrize(
    "form", [trace.LOG_RECEIVED, trace.LOG_SUCCESS, trace.LOG_RETRY, trace.LOG_FAILURE, trace.LOG_REJECTED]
)
def test_celerys_lines_about_a_job_name_it_without_its_payload(app: Any, form: str) -> None:
    made = of_celery(form, runtime=0.5, return_value=SECRET, exc="no", description="raised")
    found = told(app, made)
    assert (found["job"], found["task"]) == (made.data["id"], "mail.send")  # type: ignore[attr-defined]
    assert found["event"].startswith("job_")
    assert SECRET not in json.dumps(found)
    assert SECRET not in text(app, made)


def test_a_job_that_celery_names_by_position_is_named(app: Any) -> None:
    job = new_id()
    made = record("Hard time limit (%ss) exceeded for %s[%s]", 3.0, "mail.send", job)
    found = told(app, made)
    assert (found["job"], found["task"]) == (job, "mail.send")
    assert "job" not in told(app, record("%s[%s]", "list", "0"))


def test_a_pool_that_is_debugged_shows_no_message(app: Any) -> None:
    made = record(POOL_APPLIES, "trace", SECRET, SECRET, level=logging.DEBUG)
    assert text(app, made).endswith("DEBUG    TaskPool: Apply")


def test_a_tasks_own_lines_say_which_attempt_it_is(app: Any) -> None:
    job = new_id()

    @app.task(name="tests.logging", bind=True, shared=False)
    def work(self: Any) -> list[dict[str, Any]]:
        made = told(app, record("at work"))
        return [made, told(app, record(Event.LATE_OUTCOME, {"job": "another", "attempt": 9}))]

    from celery._state import _task_stack

    _task_stack.push(work)
    work.push_request(id=job, called_directly=False, **{STAMP: {"attempt": 4}})
    try:
        mine, other = work.run()
    finally:
        work.pop_request()
        _task_stack.pop()
    assert (mine["job"], mine["task"], mine["attempt"]) == (job, "tests.logging", 4)
    assert (other["job"], other["attempt"], "task" in other) == ("another", 9, False)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_that_is_logged_can_forge_a_line(app: Any, log_format: str) -> None:
    nasty = "x\n2030-01-01T00:00:00Z INFO     forged job=1\r\x1b[2J\u202e"
    made = record(Event.SCHEDULE_REFUSED, {"schedule": nasty, "error": nasty})
    line = formatter(app, log_format=log_format).format(made)
    assert len(line.splitlines()) == 1
    assert not set("\x1b\r\n\u202e") & set(line)
    line = formatter(app, log_format=log_format).format(record("%s", nasty, job=nasty))
    assert not set("\x1b\r\n\u202e") & set(line)


def test_a_traceback_cannot_forge_a_line(app: Any) -> None:
    try:
        raise ValueError("x\n2030-01-01T00:00:00Z INFO     forged\x1b[2J")
    except ValueError:
        made = record(Event.TURN_FAILED, exc_info=sys.exc_info(), level=logging.ERROR)
    first, *rest = text(app, made).splitlines()
    assert first.endswith("a turn of the ledger thread failed; it is tried again event=turn_failed")
    assert rest
    assert all(line.startswith("    | ") for line in rest)
    assert "\x1b" not in "".join(rest)
    assert "forged" in told(app, made)["exception"]


def test_structlogs_own_lines_keep_their_fields(app: Any) -> None:
    lines: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record)

    target = logging.getLogger("tests.of_structlog")
    target.handlers, target.propagate = [Keep()], False
    target.setLevel(logging.INFO)
    log = structlog.wrap_logger(
        target,
        processors=[ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    log.info("paid", order=7, note="a b=c")
    assert text(app, lines[0]).endswith('INFO     paid order=7 note="a b=c"')
    assert told(app, lines[0])["order"] == 7


# The enum


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a module's logger."""
    for path in (ROOT / "celeriac").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger."):
                yield f"{path.name}:{node.lineno}", node


def test_every_line_of_ours_is_an_event() -> None:
    found = list(calls())
    assert len(found) > 40
    assert [place for place, call in found if not ast.unparse(call.args[0]).startswith("Event.")] == []


def test_every_event_is_logged_with_its_fields() -> None:
    used: dict[str, set[str]] = {}
    for place, call in calls():
        name = ast.unparse(call.args[0]).removeprefix("Event.")
        given = call.args[1] if len(call.args) > 1 else ast.Dict([], [])
        if isinstance(given, ast.Dict):
            keys = {key.value for key in given.keys if isinstance(key, ast.Constant)}
            assert keys >= wanted(Event[name]), place
        used[name] = set()
    of_celery = {event.name for event in Event if event.name.startswith("JOB_")}
    assert used.keys() | of_celery == set(Event.__members__)
    assert len(Event.__members__) == len(set(Event)), "two events have one sentence"


def wanted(event: Event) -> set[str]:
    return set(re.findall(r"%\((\w+)\)", event))


def test_a_sentence_is_filled_in_from_its_fields() -> None:
    class Anything(dict[str, Any]):
        def __missing__(self, key: str) -> int:
            return 1

    given: Mapping[str, Any] = Anything()
    assert all("%(" not in str(event) % given for event in Event)
