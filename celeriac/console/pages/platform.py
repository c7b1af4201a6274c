"""The pages of the platform as it is now: overview, queues, workers, tasks, doctor."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import Response

from celeriac.console.changes import log_change
from celeriac.console.in_time import InTime
from celeriac.console.page_request import PageRequest
from celeriac.console.pages import charts
from celeriac.console.pages.dead import all_groups, muted_groups
from celeriac.console.pages.pausing import paused
from celeriac.console.refusal import NotHere
from celeriac.errors import UnknownTask
from celeriac.maintenance import ALERT
from celeriac.operate import doctor, overview
from celeriac.operate.acting import draining
from celeriac.operate.alerts import rounds, trial
from celeriac.operate.alerts.troubles import Trouble, troubled_schedules
from celeriac.operate.dead_letters import Cause, Group
from celeriac.operate.doctor import schedules_check
from celeriac.operate.history.sparklines import is_growing
from celeriac.operate.overview import LATELY, Line
from celeriac.operate.pauses import PauseKind
from celeriac.operate.presentation import queue_words
from celeriac.operate.presentation.filter_words import filter_of, options_of
from celeriac.operate.presentation.links import plain_links
from celeriac.operate.presentation.settings_shown import settings_shown, task_options
from celeriac.operate.presentation.shapes import plain, queue_shape, worker_shape
from celeriac.operate.presentation.task_stats import TaskStats, by_task

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_TOP = 8  # groups of dead letters on the overview
_WITHIN = timedelta(hours=1)  # workers heard of
_STATS_SINCE = "1h"
_SHORTER = ("5m", "1m")  # where the jobs of an hour take too long to count
_PATIENCE = 3.0  # seconds that the overview waits for its figures
_SLOW = 10.0  # seconds between two reads of what costs more
_NONE = (0, 0, 0)  # hours
_NEW = timedelta(hours=1)  # a group of dead letters whose first is younger is new


def show_overview(ask: PageRequest) -> Response:
    counts = ask.console.head.counts(wait=_PATIENCE)
    queues, workers = _queues(ask), _workers(ask)
    sparks = charts.cause_sparks(ask)
    groups, silent = _top(ask, sparks)
    late, root = _late_schedules(ask), ask.url("/").rstrip("/")
    return ask.show(
        "overview.html",
        command="jobs watch",
        told={
            "seen": plain(counts),
            "queues": [queue_shape(queue) for queue in queues],
            "silent": [worker_shape(each) for each in workers if each.state == "silent"],
            "schedules": [each.sentence for each in late],
            **charts.told(ask),
        },
        chart=charts.chart_of(ask),
        counts=counts,
        queues=[(queue, clears_in(queue)) for queue in queues],
        groups=groups,
        sparks=sparks,
        muted=silent,
        late=[(each, root + each.path) for each in late],
        silent=[each for each in workers if each.state == "silent"],
        living=[each for each in workers if each.state == "alive"],
        minutes=LATELY.total_seconds() / 60,
        now=datetime.now(UTC),
    )


def _top(ask: PageRequest, sparks: Mapping[str, list[int]]) -> tuple[list[tuple[Cause, Group, str]], int]:
    """Groups of dead letters that are not muted, and how many are.

    Each has a word if it is new or growing: these come first, then the largest.
    """
    found = all_groups(ask)
    silent, new_since = muted_groups(ask, found), datetime.now(UTC) - _NEW
    told = []
    for group in found:
        cause = Cause.of(group)
        if cause.key not in silent:
            growing = "growing" if is_growing(sparks.get(cause.key, _NONE)) else ""
            told.append((cause, group, "new" if group.first >= new_since else growing))
    return sorted(told, key=lambda each: not each[2])[:_TOP], len(silent)


def _late_schedules(ask: PageRequest) -> list[Trouble]:
    """Schedules that are late, or whose last due time was skipped."""
    read = partial(schedules_check.read, ask.app)
    facts: schedules_check.Facts = ask.console.shared("schedules", read, every=_SLOW)
    return list(troubled_schedules(facts))


def clears_in(queue: overview.QueueStatus) -> timedelta | None:
    """When nothing due is left, if it goes on as in the last minutes; None: it does not, or who knows."""
    gained = (queue.completed + queue.failed) - queue.accepted
    if not queue.due or queue.capped or gained <= 0:
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
        words=queue_words.in_words,
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
        elsewhere=plain_links(ask.app.settings.console_links),
        timeout=timeout,
        now=datetime.now(UTC),
    )


def drain_worker(ask: PageRequest) -> Response:
    """Let a worker draw nothing more."""
    name = ask.given("name")
    draining.drain(name, actor=ask.actor, reason=ask.given("reason"), app=ask.console.app)
    log_change(ask.visitor.name, "drained worker", name)
    return ask.go(ask.url("/workers"), saying=f"{name} draws nothing more: it ends what it has")


def show_tasks(ask: PageRequest) -> Response:
    since = ask.query.get("since") or _STATS_SINCE
    counted, found = _stats(ask, since)
    return ask.show(
        "tasks.html",
        command=f"stats{options_of({'since': since})}",
        told={"all": found[-1], "tasks": found[:-1]},
        tasks=found[:-1],
        total=found[-1],
        since=since,
        counted=counted,
    )


def show_task(ask: PageRequest) -> Response:
    name, since = ask.path("name"), ask.query.get("since") or _STATS_SINCE
    since, lines = _stats(ask, since)
    found = next((each for each in lines if each.task == name), None)
    ask.app.loader.import_default_modules()
    task = ask.app.tasks.get(name)
    stopped = [row for row in paused(ask) if row.kind is PauseKind.TASK and row.name == name]
    if found is None and task is None:
        raise UnknownTask(name)
    options = [] if task is None else task_options(ask.app, task)
    return ask.show(
        "task.html",
        command=f"stats{options_of({'since': since, 'task': name})}",
        told={
            "task": name,
            "stats": found,
            "options": plain(options),
            "paused": plain(stopped),
            **charts.told(ask, task=name, spreads=True),
        },
        chart=charts.chart_of(ask, task=name),
        name=name,
        stats=found,
        options=options,
        known=task is not None,
        groups=[(Cause.of(each), each) for each in all_groups(ask) if each.task == name][:_TOP],
        now=datetime.now(UTC),
        paused=stopped,
        since=since,
    )


def show_doctor(ask: PageRequest) -> Response:
    findings = ask.console.head.doctor.get(wait=30.0)
    settings = settings_shown(ask.app)
    levels, root = list(doctor.Level), ask.url("/").rstrip("/")
    return ask.show(
        "doctor.html",
        command="doctor",
        told={
            "status": levels[doctor.status(findings)],
            "findings": findings,
            "settings": plain(settings),
        },
        findings=sorted(findings, key=lambda each: levels.index(each.level), reverse=True),
        channels=ask.app.settings.alert_channels,
        alerts=[(each, root + each.path) for each in rounds.list_alerts(app=ask.app)],
        worst=levels[doctor.status(findings)],
        settings=settings,
    )


def test_alerts(ask: PageRequest) -> Response:
    """Send a message to each receiver of alerts; the page of its job shows whether it was taken."""
    sent = trial.send(actor=ask.actor, app=ask.console.app)
    log_change(ask.visitor.name, "tested", "alerts")
    one = ask.url(f"/jobs/{sent[0].id}") if len(sent) == 1 else ask.url("/jobs", task=ALERT)
    return ask.go(one, saying="a message is on its way: it has arrived when this job is completed")


def _queues(ask: PageRequest) -> list[overview.QueueStatus]:
    def read() -> list[overview.QueueStatus]:
        return overview.queues(known=ask.console.backlog(), app=ask.app)

    found: list[overview.QueueStatus] = ask.console.shared("queues", read)
    return found


def _workers(ask: PageRequest) -> list[overview.WorkerStatus]:
    read = partial(overview.list_workers, within=_WITHIN, app=ask.app)
    found: list[overview.WorkerStatus] = ask.console.shared("workers", read)
    return found


def _stats(ask: PageRequest, since: str) -> tuple[str, list[TaskStats]]:
    """Of the jobs accepted since then; where that takes too long, of those of the last minutes."""

    def of(span: str, app: Celeriac) -> tuple[str, list[Line]]:
        return span, overview.stats(filter_of({"since": span}), app=app)

    *first, last = _SHORTER[_SHORTER.index(since) :] if since in _SHORTER else (since, *_SHORTER)
    read = InTime(*(partial(of, span, ask.console.impatient) for span in first), partial(of, last, ask.app))
    span, lines = ask.console.shared(f"stats {since}", read, every=_SLOW, wait=7.0)
    return span, by_task(lines)
