"""``jobs show`` and ``jobs explain``: one job for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.display import length, safe, safe_lines, stamp
from celeriac.ledger.schema.columns import FOLLOWING
from celeriac.ledger.schema.lifecycle import WAITING
from celeriac.operate.explain import explain as explain_job
from celeriac.operate.job import Attempt, Job, job
from celeriac.operate.listing import resolve
from celeriac.operate.presentation.attempts import every_attempt
from celeriac.operate.presentation.timeline import shown_values, timeline


def show(ctx: click.Context, app: Celeriac, id: str, *, reveal: bool, as_json: bool) -> None:
    found = job(resolve(id, app=app), app=app)
    shown = shown_values(app, found, reveal=reveal)
    if as_json:
        body = output.plain(found) | shown | {"revealed": reveal}
        body |= {"attempts": output.plain(every_attempt(found)), "timeline": output.plain(timeline(found))}
        output.emit("jobs show", job=body)
        return
    console = output.console(ctx)
    _print_head(console, found)
    _print_arguments(console, shown)
    _print_timeline(console, found)
    _print_attempts(console, found)
    for attempt in found.attempts:
        print_attempt(console, attempt)
    if found.result_lost:
        console.print(Text("\nresult", "bold"))
        console.print(Text("the ledger has no copy of it"))
    if found.result is not None:
        console.print(Text("\nresult", "bold"))
        console.print(Text(safe(_json(shown["result"]))), soft_wrap=True)


def explain(ctx: click.Context, app: Celeriac, id: str, *, as_json: bool) -> None:
    found = explain_job(resolve(id, app=app), app=app)
    if as_json:
        output.emit("jobs explain", explanation=found)
        return
    console = output.console(ctx)
    console.print(Text.assemble(f"job {found.id} is ", output.state(found.state), f" ({found.reason}):"))
    console.print(Text(safe(found.sentence)), soft_wrap=True)
    if found.remedy:
        console.print(Text(safe(found.remedy), "bold"), soft_wrap=True)
    if found.answers:
        console.print(Text(safe(found.answers)), soft_wrap=True)


def _print_head(console: Console, found: Job) -> None:
    console.print(Text.assemble((safe(found.task), "bold"), "  ", output.state(found.state)))
    facts: Mapping[str, object] = {
        "id": found.id,
        "task id": found.task_id,
        "queue": f"{found.queue}, priority {found.priority}",
        "tries": f"{found.try_count} of {found.max_tries}",
        "user": found.user_id,
        "schedule": found.schedule,
        "key": found.idempotency_key,
        "unique": found.unique_key,
        "follows": found.follows,
        "parent": found.parent_id,
        "group": found.group_id,
        "next": _next(found),
        "worker": found.worker or found.last_worker_id,
        "cancel": found.cancel_requested,
        "expires": None if found.expires is None else stamp(found.expires),
        "failure": found.failure_info,
    }
    for name, value in facts.items():
        if value is not None:
            console.print(Text.assemble((f"{name:<9}", "dim"), safe(value)), soft_wrap=True)


def _next(found: Job) -> str | None:
    """When a job that waits runs next."""
    if found.state not in WAITING:
        return None
    if found.next_attempt_after >= FOLLOWING:
        return f"attempt {found.try_count + 1} waits for other jobs; see `jobs explain`"
    return f"attempt {found.try_count + 1} is due at {stamp(found.next_attempt_after)}"


def _print_arguments(console: Console, shown: Mapping[str, Any]) -> None:
    console.print(Text("\narguments", "bold"))
    if shown["args"] is None:
        console.print(Text("cannot be read"))
        return
    rows: Sequence[tuple[str, Any]] = [
        *((f"[{index}]", value) for index, value in enumerate(shown["args"])),
        *shown["kwargs"].items(),
    ]
    for name, value in rows:
        console.print(
            Text.assemble((f"{safe(name, length=60)} = ", "dim"), safe(_json(value))), soft_wrap=True
        )
    if not rows:
        console.print(Text("none"))


def _print_timeline(console: Console, found: Job) -> None:
    console.print(Text("\ntimeline", "bold"))
    before: datetime | None = None
    for event in timeline(found):
        gap = "" if before is None else f"+{length(max(event.at - before, timedelta(0)))}"
        console.print(
            Text.assemble((f"{stamp(event.at)} {gap:>14}  ", "dim"), safe(event.what)), soft_wrap=True
        )
        before = event.at


def _print_attempts(console: Console, found: Job) -> None:
    attempts = every_attempt(found)
    if attempts:
        console.print(Text("\nattempts", "bold"))
    for each in attempts:
        where = safe(each.worker or each.worker_id or "no worker")
        versions = (each.code_version, each.version and f"Celeriac {each.version}")
        version = f" ({safe(', '.join(filter(None, versions)))})" if any(versions) else ""
        began = "never began" if each.started is None else f"began {stamp(each.started)}"
        took = "" if each.took is None else f", took {length(each.took)}"
        line = f"{each.attempt} {each.kind} on {where}{version}, {began}{took}"
        console.print(Text(line), soft_wrap=True)


def print_attempt(console: Console, attempt: Attempt) -> None:
    who = attempt.worker or attempt.worker_id
    where = f" on {safe(who)}" if who else ""
    head = f"\nattempt {attempt.attempt}{where}, {attempt.kind}"
    place = f" in {safe(attempt.frame)}" if attempt.frame else ""
    console.print(Text.assemble((head, "bold red"), place))
    text = attempt.traceback or f"{attempt.exception_type}: {attempt.exception}"
    console.print(Text(safe_lines(text.rstrip())), soft_wrap=True)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
