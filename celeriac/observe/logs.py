"""The format of log lines, of all loggers: ``key=value`` for people or JSON for machines.

``log_setup.py`` sets it in Celery's place, so Celery's own loggers have it too. A line about a job has
the job, task and attempt. No line has arguments or results. Control characters are escaped.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping
from logging.handlers import WatchedFileHandler
from typing import TYPE_CHECKING, Any

import structlog
from celery.app import trace
from celery.utils.log import get_multiprocessing_logger
from celery.worker import state
from structlog.processors import EventRenamer, JSONRenderer, LogfmtRenderer, TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter

from celeriac.display import safe, safe_lines
from celeriac.events import Event
from celeriac.headers import STAMP
from celeriac.ids import optional_id, row_id

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_Line = dict[str, Any]
_Step = Callable[[Any, str, Any], Any]

#: The event for each line that Celery logs. Our sentence replaces Celery's, which shows return values.
_OF_CELERY: Mapping[str, Event] = {
    trace.LOG_RECEIVED: Event.JOB_RECEIVED,
    trace.LOG_SUCCESS: Event.JOB_SUCCEEDED,  # without the return value
    trace.LOG_RETRY: Event.JOB_RETRIED,
    trace.LOG_FAILURE: Event.JOB_FAILED,
    trace.LOG_IGNORED: Event.JOB_IGNORED,
    trace.LOG_REJECTED: Event.JOB_REJECTED,
}

#: A debug line of Celery's pools that shows whole messages.
POOL_APPLIES = "TaskPool: Apply %s (args:%s kwargs:%s)"

_OWN_HANDLERS = ("celery", "celery.task", "celery.redirected")
_INDENT = "    | "  # before each line of a traceback, so that none of them looks like a log line
_A_JOB = "%s[%s]"  # how Celery names a job elsewhere: task, id
_CONVERSION = re.compile(r"%[^a-zA-Z%]*[a-zA-Z]")


def configure(
    app: Celeriac, *, loglevel: int, logfile: str | None = None, colorize: bool | None = None, **_: Any
) -> None:
    """A receiver of Celery's ``setup_logging``: install one handler, at the root, for all loggers."""
    handler = _handler(logfile)
    handler.setFormatter(formatter(app, log_format=app.settings.log_format, colours=bool(colorize)))
    for name in _OWN_HANDLERS:
        logging.getLogger(name).handlers = []
    root, pools = logging.getLogger(), get_multiprocessing_logger()
    root.handlers = pools.handlers = [handler]
    root.setLevel(loglevel)
    pools.setLevel(logging.ERROR)
    if app.conf.worker_redirect_stdouts:
        app.log.redirect_stdouts(app.conf.worker_redirect_stdouts_level)
    _configure_structlog()


def _handler(logfile: str | None) -> logging.Handler:
    if logfile:
        return WatchedFileHandler(logfile, encoding="utf-8")
    return logging.StreamHandler(sys.__stderr__)


def _configure_structlog() -> None:
    """Send what tasks log with structlog through the same handler."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def formatter(app: Celeriac, *, log_format: str, colours: bool = False) -> ProcessorFormatter:
    """The formatter for records of the standard library and of structlog."""
    return ProcessorFormatter(
        pass_foreign_args=True,
        foreign_pre_chain=[_event_and_fields],
        processors=[
            _add_job_fields(app),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            TimeStamper(fmt="iso", utc=True),
            format_exc_info,
            ProcessorFormatter.remove_processors_meta,
            *(_for_machines() if log_format == "json" else [_for_people(colours)]),
        ],
    )


# ---- the fields of a line


def _event_and_fields(_logger: Any, _method: str, line: Any) -> Any:
    """Add the event of a record of the standard library, and its fields."""
    record, args = line["_record"], line.pop("positional_args")
    if isinstance(record.msg, Event):
        line["_event"] = record.msg.name.lower()
        line |= args if isinstance(args, Mapping) else {}
        line["_in_sentence"] = set(args) if isinstance(args, Mapping) else set()
    elif isinstance(record.msg, str):
        line |= _celery_fields(record.msg, args, getattr(record, "data", None))
    return line


def _celery_fields(text: str, args: Any, data: Any) -> dict[str, Any]:
    if text == POOL_APPLIES:
        return {"event": "TaskPool: Apply"}
    event = _OF_CELERY.get(text)
    if event is not None and isinstance(data, Mapping):
        named = {"job": data["id"], "task": data["name"]}
        return {"event": event % data, "_event": event.name.lower(), **named}
    before, found, _ = text.partition(_A_JOB)
    if found and isinstance(args, tuple):
        first = len(_CONVERSION.findall(before))
        named = dict(zip(("task", "job"), args[first : first + 2], strict=False))
        job = str(named.get("job"))  # a text that is no UUID could mean anything, unless it is a job's here
        return named if optional_id(job) or job in state.requests else {}
    return {}


def _add_job_fields(app: Celeriac) -> _Step:
    """Add the job, task and attempt that a line is about, as far as this process knows them."""

    def about(_logger: Any, _method: str, line: _Line) -> _Line:
        running = app.current_worker_task
        if running is not None and line.get("job", running.request.id) == running.request.id:
            stamp = running.request.get(STAMP) or {}
            own = {"job": running.request.id, "task": running.name, "attempt": stamp.get("attempt")}
            return _with(line, own)
        return _with(line, _fields_of_job(app, line["job"])) if "job" in line else line

    return about


def _fields_of_job(app: Celeriac, job: object) -> dict[str, Any]:
    """Task and attempt of a job that this worker holds."""
    request = state.requests.get(str(job))
    if request is not None:
        return {"task": request.name, "attempt": getattr(request, "attempt", None)}
    ledger, id = getattr(app, "ledger_thread", None), row_id(str(job))
    return {"attempt": ledger.attempt_of(id)} if ledger is not None and id is not None else {}


def _with(line: _Line, more: Mapping[str, Any]) -> _Line:
    for name, value in more.items():
        if value is not None:
            line.setdefault(name, value)
    return line


# ---- the text of a line


def _for_machines() -> list[_Step]:
    return [_drop_internal_fields, EventRenamer("message", replace_by="_event"), JSONRenderer(default=str)]


def _drop_internal_fields(_logger: Any, _method: str, line: _Line) -> _Line:
    line.pop("_in_sentence", None)
    return line


def _for_people(colours: bool) -> _Step:
    """``moment LEVEL sentence key=value … event=name``, a traceback indented below."""
    key_values = LogfmtRenderer()

    def render(logger: Any, method: str, line: _Line) -> str:
        name = line.pop("_event", None)
        in_sentence = line.pop("_in_sentence", set()) - {"job", "task", "attempt"}
        level, trouble = str(line.pop("level")), line.pop("exception", None)
        head = f"{line.pop('timestamp')} {_level(level, colours)} {safe(line.pop('event'))}"
        line.pop("logger", None)
        fields = {_key(name): safe(value) for name, value in line.items() if name not in in_sentence}
        if name is not None:
            fields["event"] = name
        text = f"{head} {key_values(logger, method, fields)}".rstrip()
        return text if trouble is None else f"{text}\n{_indented(trouble)}"

    return render


_COLOURS = {"warning": 33, "error": 31, "critical": 31}


def _level(level: str, colours: bool) -> str:
    shown = f"{level.upper():<8}"
    return f"\x1b[{_COLOURS[level]}m{shown}\x1b[0m" if colours and level in _COLOURS else shown


def _key(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _indented(text: str) -> str:
    return "\n".join(f"{_INDENT}{line}" for line in safe_lines(text).splitlines())
