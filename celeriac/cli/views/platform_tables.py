"""``queues``, ``workers``, ``stats`` and what is paused, as rows and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.command import text
from celeriac.cli.output import Cell, Styled
from celeriac.cli.rows import Rows
from celeriac.display import ago, counted, duration_text, length, safe
from celeriac.operate import pauses
from celeriac.operate.acting import draining
from celeriac.operate.actions import Actor
from celeriac.operate.listing import Filter
from celeriac.operate.overview import (
    LATELY,
    QueueStatus,
    WorkerStatus,
    list_workers,
    queues,
    stats,
    unconsumed_lists,
)
from celeriac.operate.pauses import PauseKind, PauseRow
from celeriac.operate.presentation.shapes import queue_shape, worker_shape
from celeriac.operate.presentation.task_stats import TaskStats, by_task

_STATE_STYLES = {"alive": "green", "silent": "red", "stopped": "dim"}


def show_queues(ctx: click.Context, app: Celeriac, *, as_json: bool) -> None:
    found, lists = queues(app=app), unconsumed_lists(app=app)
    if as_json:
        shapes = [queue_shape(queue) for queue in found]
        output.emit("queues", window=LATELY, queues=shapes, undrawn=[output.plain(each) for each in lists])
        return
    columns = [
        "queue",
        "due",
        "later",
        "running",
        "oldest",
        "in/min",
        "out/min",
        "workers",
        "broker",
        "drift",
    ]
    holds = any(queue.held or queue.paused for queue in found)
    if holds:
        columns.insert(3, "held")
    rows = Rows(*columns, right=columns[1:])
    for queue in found:
        rows.add(*_queue_cells(queue, holds=holds))
    rows.print(ctx)
    if any(queue.in_broker is None for queue in found):
        output.note(ctx, "the broker cannot be asked: see CELERY_BROKER_URL")
    for queue in found:
        if queue.due and not queue.consumers:
            output.note(ctx, f"no live worker draws from {queue.name}: celery -A app worker -Q {queue.name}")
    for row in pauses.paused(app=app):
        _note_pause(ctx, row)
    for each in lists:
        messages = counted(each.messages, "message")
        output.note(ctx, f"nobody draws from the list {each.name}: {messages}, the oldest of {each.task}")


def show_workers(ctx: click.Context, app: Celeriac, *, within: timedelta, as_json: bool) -> None:
    found = list_workers(within=within, app=app)
    if as_json:
        output.emit("workers", workers=[worker_shape(status) for status in found])
    elif found:
        _print_workers(ctx, found)
    living = sum(status.alive for status in found)
    if not living and not as_json:
        output.note(ctx, "no worker lives: celery -A app worker")
    ctx.exit(0 if living else 1)


def show_stats(
    ctx: click.Context,
    app: Celeriac,
    *,
    since: Any,
    until: Any,
    task: str | None,
    queue: str | None,
    as_json: bool,
) -> None:
    wanted = Filter(since=since, until=until, task=text("task", task), queue=text("queue", queue))
    found = by_task(stats(wanted, app=app))
    stopped = [row for row in pauses.paused(app=app) if row.kind is PauseKind.TASK]
    if as_json:
        output.emit("stats", all=found[-1], tasks=found[:-1], paused=stopped)
    elif found[-1].jobs:
        _print_stats(ctx, found)
    else:
        output.note(ctx, "no job was accepted in that time")
    for row in stopped if not as_json else ():
        _note_pause(ctx, row)
    ctx.exit(0 if found[-1].jobs else 1)


def show_paused(app: Celeriac, kind: str, name: str, *, reason: str | None, as_json: bool) -> None:
    actor = Actor.at_the_terminal()
    made = pauses.pause(PauseKind(kind), name, actor=actor, reason=reason, app=app)
    found = [row for row in pauses.paused(app=app) if row.kind == kind]
    if as_json:
        output.emit(f"{kind}s pause", name=name, names=made, paused=found)
        return
    for each in made:
        click.echo(f"{safe(each)} is paused")
    for row in found if not made else ():
        if row.name in pauses.names(PauseKind(kind), name, app=app):
            click.echo(f"{safe(row.name)} was {safe(pauses.in_words(row))}")


def show_resumed(
    ctx: click.Context, app: Celeriac, kind: str, name: str, *, reason: str | None, as_json: bool
) -> None:
    actor = Actor.at_the_terminal()
    ended = pauses.resume(PauseKind(kind), name, actor=actor, reason=reason, app=app)
    if as_json:
        output.emit(f"{kind}s resume", name=name, names=ended)
    for each in ended if not as_json else ():
        click.echo(f"{safe(each)} goes on")
    if not ended:
        output.note(ctx, f"the {kind} {name!r} is not paused")
        ctx.exit(1)


def show_drained(app: Celeriac, name: str, *, reason: str | None, as_json: bool) -> None:
    queues = draining.drain(name, actor=Actor.at_the_terminal(), reason=reason, app=app)
    if as_json:
        output.emit("workers drain", name=name, queues=queues)
    else:
        click.echo(f"{safe(name)} draws nothing more; it drew from {safe(', '.join(queues))}")


def _note_pause(ctx: click.Context, row: PauseRow) -> None:
    output.note(ctx, f"the {row.kind} {row.name} is {pauses.in_words(row)}; {pauses.remedy(row)}")


def _queue_cells(queue: QueueStatus, *, holds: bool) -> list[Cell]:
    minutes = LATELY.total_seconds() / 60
    drift = "–" if queue.drift is None else f"{queue.drift:+,}" if queue.drift else "·"
    return [
        output.cell(queue.name),
        output.number(queue.due),
        output.number(queue.later + queue.parked),
        *([Styled(output.number(queue.held), "yellow" if queue.paused else "")] if holds else []),
        output.number(queue.running),
        "·" if queue.oldest is None else length(queue.oldest, units=1),
        f"{queue.accepted / minutes:,.1f}",
        f"{(queue.completed + queue.failed) / minutes:,.1f}",
        Styled(output.number(queue.consumers), "red" if queue.due and not queue.consumers else ""),
        output.number(queue.in_broker),
        drift,
    ]


def _worker_cells(status: WorkerStatus) -> list[Cell]:
    worker = status.worker
    return [
        output.cell(worker.hostname),
        Styled(status.state, _STATE_STYLES[status.state]),
        ago(worker.heartbeat, worker.heartbeat + worker.silent),
        str(worker.pid),
        output.cell(worker.pool),
        f"{worker.running}/{worker.concurrency}",
        output.cell(", ".join(worker.queues)),
        output.cell(worker.version),
        output.cell(worker.code_version),
    ]


def _print_workers(ctx: click.Context, found: Sequence[WorkerStatus]) -> None:
    columns = ["worker", "state", "heartbeat", "pid", "pool", "running", "queues", "version", "code"]
    rows = Rows(*columns, right=["pid", "running"], fold=["worker", "queues"], head=2)
    for status in found:
        rows.add(*_worker_cells(status))
    rows.print(ctx)
    running = [(status.worker, one) for status in found for one in status.jobs]
    if not running:
        return
    ctx.obj.echo()
    rows = Rows("worker", "runs", "task", "attempt", "for", right=["attempt"], fold=["worker"], head=2)
    for worker, one in running:
        cells = (output.cell(one.task), str(one.attempt), length(one.since))
        rows.add(output.cell(worker.hostname), str(one.id), *cells)
    rows.print(ctx)


def _print_stats(ctx: click.Context, found: Sequence[TaskStats]) -> None:
    figures = ["jobs", "waiting", "running", "done", "failed", "failure", "retried"]
    spans = ["wait p50", "wait p95", "run p50", "run p95"]
    rows = Rows("task", *figures, *spans, right=[*figures, *spans], fold=["task"])
    for each in found:
        if each.task is None:
            rows.section()
        states = each.states
        rows.add(
            output.cell("all" if each.task is None else each.task),
            *map(output.number, (each.jobs, states["pending"] + states["error"], states["running"])),
            *map(output.number, (states["completed"], states["failed"])),
            "–" if each.failure_rate is None else f"{each.failure_rate:.1%}",
            output.number(each.retried),
            *map(duration_text, (each.wait_p50, each.wait_p95, each.run_p50, each.run_p95)),
        )
    rows.print(ctx)
