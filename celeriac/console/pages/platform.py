"""The pages of the platform as it is now: overview, queues, workers, tasks, doctor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from celeriac.console.changes import log_change
from celeriac.console.page_request import PageRequest
from celeriac.console.pages import charts
from celeriac.console.pages.dead import muted_groups
from celeriac.console.pages.pausing import paused
from celeriac.console.refusal import NotHere
from celeriac.errors import UnknownTask
from celeriac.maintenance import ALERT
from celeriac.operate import dead_letters, doctor, overview
from celeriac.operate.alerts import rounds, trial
from celeriac.operate.dead_letters import Cause, Group
from celeriac.operate.overview import LATELY
from celeriac.operate.pauses import PauseKind
from celeriac.operate.presentation.filter_words import filter_of, options_of
from celeriac.operate.presentation.shapes import plain, queue_shape, worker_shape
from celeriac.operate.presentation.task_stats import TaskStats, by_task
from celeriac.settings.platform import variable

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_TOP = 8  # groups of dead letters on the overview
_MOST_MUTED = 200  # of them that are left out
_WITHIN = timedelta(hours=1)  # workers heard of
_STATS_SINCE = "1h"
_SLOW = 10.0  # seconds between two reads of what costs more
_NEW = timedelta(hours=1)  # a group of dead letters whose first is younger is new


def show_overview(ask: PageRequest) -> Response:
    counts = ask.console.shared("counts-now", partial(overview.count_jobs, app=ask.app))
    queues, workers = _queues(ask), _workers(ask)
    groups, silent = _top(ask)
    return ask.show(
        "overview.html",
        command="jobs watch",
        told={
            "seen": plain(counts),
            "queues": [queue_shape(queue) for queue in queues],
            "silent": [worker_shape(each) for each in workers if each.state == "silent"],
            **charts.told(ask),
        },
        chart=charts.chart_of(ask),
        counts=counts,
        queues=[(queue, clears_in(queue)) for queue in queues],
        groups=[(Cause.of(group), group) for group in groups],
        muted=silent,
        silent=[each for each in workers if each.state == "silent"],
        living=[each for each in workers if each.state == "alive"],
        minutes=LATELY.total_seconds() / 60,
        now=datetime.now(UTC),
        new_since=datetime.now(UTC) - _NEW,
    )


def _top(ask: PageRequest) -> tuple[list[Group], int]:
    """The largest groups of dead letters that are not muted, and how many are."""
    read = partial(dead_letters.groups, limit=_TOP + _MOST_MUTED, app=ask.app)
    found: list[Group] = ask.console.shared("top", read, every=4.0)
    silent = muted_groups(ask, found)
    return [each for each in found if Cause.of(each).key not in silent][:_TOP], len(silent)


def clears_in(queue: overview.QueueStatus) -> timedelta | None:
    """When nothing due is left, if it goes on as in the last minutes; None: it does not shrink."""
    gained = (queue.completed + queue.failed) - queue.accepted
    if not queue.due or gained <= 0:
        return None
    return LATELY * (queue.due / gained)


def show_queues(ask: PageRequest) -> Response:
    queues = _queues(ask)
    read = partial(overview.unconsumed_lists, app=ask.app)
    lists = ask.console.shared("lists", read, every=_SLOW, wait=4.0)
    return ask.show(
        "queues.html",
        command="queues",
        told={
            "window": LATELY,
            "queues": [queue_shape(queue) for queue in queues],
            "undrawn": [plain(each) for each in lists],
            "paused": plain(paused(ask)),
        },
        queues=[(queue, clears_in(queue)) for queue in queues],
        sparks=charts.queue_sparks(ask),
        lists=lists,
        minutes=LATELY.total_seconds() / 60,
        silent_broker=any(queue.in_broker is None for queue in queues),
        paused=paused(ask),
    )


def show_queue(ask: PageRequest) -> Response:
    """One list: what waits in it, and what ended of it over time."""
    name = ask.path("name")
    found = next((queue for queue in _queues(ask) if queue.name == name), None)
    if found is None:
        raise NotHere(f"there is no queue {name[:80]!r} here, and the ledger has no job of it")
    stopped = [row for row in paused(ask) if row.kind is PauseKind.QUEUE and row.name == name]
    return ask.show(
        "queue.html",
        command="queues",
        told={"queue": queue_shape(found), **charts.told(ask, queue=name, spreads=True)},
        chart=charts.chart_of(ask, queue=name),
        queue=found,
        clears=clears_in(found),
        paused=stopped,
        minutes=LATELY.total_seconds() / 60,
        now=datetime.now(UTC),
    )


def show_workers(ask: PageRequest) -> Response:
    workers = _workers(ask)
    timeout = timedelta(seconds=ask.app.settings.worker_timeout)
    return ask.show(
        "workers.html",
        command="workers",
        told={"workers": [worker_shape(each) for each in workers]},
        workers=workers,
        timeout=timeout,
    )


def show_tasks(ask: PageRequest) -> Response:
    since = ask.query.get("since") or _STATS_SINCE
    found = _stats(ask, since)
    return ask.show(
        "tasks.html",
        command=f"stats{options_of({'since': since})}",
        told={"all": found[-1], "tasks": found[:-1]},
        tasks=found[:-1],
        total=found[-1],
        since=since,
    )


def show_task(ask: PageRequest) -> Response:
    name, since = ask.path("name"), ask.query.get("since") or _STATS_SINCE
    found = next((each for each in _stats(ask, since) if each.task == name), None)
    ask.app.loader.import_default_modules()
    task = ask.app.tasks.get(name)
    stopped = [row for row in paused(ask) if row.kind is PauseKind.TASK and row.name == name]
    if found is None and task is None:
        raise UnknownTask(name)
    return ask.show(
        "task.html",
        command=f"stats{options_of({'since': since, 'task': name})}",
        told={
            "task": name,
            "stats": found,
            "options": plain(options_of_task(task)),
            "paused": plain(stopped),
            **charts.told(ask, task=name, spreads=True),
        },
        chart=charts.chart_of(ask, task=name),
        name=name,
        stats=found,
        options=options_of_task(task),
        known=task is not None,
        paused=stopped,
        since=since,
    )


def show_doctor(ask: PageRequest) -> Response:
    findings = ask.console.head.doctor.get(wait=30.0)
    levels, root = list(doctor.Level), ask.url("/").rstrip("/")
    return ask.show(
        "doctor.html",
        command="doctor",
        told={"status": levels[doctor.status(findings)], "findings": findings},
        findings=findings,
        channels=ask.app.settings.alert_channels,
        alerts=[(each, root + each.path) for each in rounds.list_alerts(app=ask.app)],
        worst=levels[doctor.status(findings)],
        settings=settings_of(ask.app),
    )


def test_alerts(ask: PageRequest) -> Response:
    """Send a message to each receiver of alerts; the page of its job shows whether it was taken."""
    sent = trial.send(actor=ask.actor, app=ask.console.app)
    log_change(ask.visitor.name, "tested", "alerts")
    one = ask.url(f"/jobs/{sent[0].id}") if len(sent) == 1 else ask.url("/jobs", task=ALERT)
    return ask.go(one, saying="a message is on its way: it has arrived when this job is completed")


def options_of_task(task: Any) -> dict[str, Any]:
    """The options of a task that decide how its jobs run; empty when this process does not know it."""
    names = ("max_tries", "priority", "queue", "timeout", "rate_limit", "keep_days", "ignore_result")
    return {} if task is None else {name: getattr(task, name, None) for name in names}


def settings_of(app: Celeriac) -> list[tuple[str, str, bool]]:
    """The variable of each setting, its value, and whether it is the default; a secret shows none."""
    found = []
    settings = app.settings
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        secret = "Secret" in str(field.annotation)
        default = name not in settings.model_fields_set
        found.append((variable(name), "***" if secret and value is not None else _text(value), default))
    return found


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _queues(ask: PageRequest) -> list[overview.QueueStatus]:
    found: list[overview.QueueStatus] = ask.console.shared("queues", partial(overview.queues, app=ask.app))
    return found


def _workers(ask: PageRequest) -> list[overview.WorkerStatus]:
    read = partial(overview.list_workers, within=_WITHIN, app=ask.app)
    found: list[overview.WorkerStatus] = ask.console.shared("workers", read)
    return found


def _stats(ask: PageRequest, since: str) -> list[TaskStats]:
    wanted = filter_of({"since": since})
    read = partial(overview.stats, wanted, app=ask.app)
    return by_task(ask.console.shared(f"stats {since}", read, every=_SLOW))
