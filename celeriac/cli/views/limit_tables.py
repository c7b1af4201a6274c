"""``limits`` as rows and as JSON."""

from __future__ import annotations

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.rows import Rows
from celeriac.display import safe
from celeriac.limits.breaker import BreakerState
from celeriac.operate import limits
from celeriac.operate.actions import Actor
from celeriac.operate.limits import LimitStatus
from celeriac.operate.presentation.shapes import plain

#: What lets a breaker judge again.
AUTO = "auto"


def show_limits(ctx: click.Context, app: Celeriac, *, as_json: bool) -> None:
    found = limits.limits(app=app)
    if as_json:
        output.emit("limits", limits=[plain(each) for each in found])
        return
    columns = ["limit", "at once", "rate", "running", "on its way", "waiting", "state"]
    rows = Rows(*columns, right=columns[1:6], note=True)
    for each in found:
        rows.add(
            safe(each.name),
            _number(each.concurrency),
            each.rate or "–",
            f"{each.running:,}",
            f"{each.on_their_way:,}",
            _waiting(each.waiting),
            _state(each),
        )
    rows.print(ctx)
    if not found:
        output.note(ctx, "no worker has declared a limit")


def show_limit(ctx: click.Context, app: Celeriac, name: str, *, as_json: bool) -> None:
    found = limits.limit(name, app=app)
    if as_json:
        output.emit("limit", limit=plain(found))
        return
    holds = f"{_number(found.concurrency)} at once, rate {found.rate or '–'}"
    if found.on_failure is not None:
        holds = f"one at a time of each key, as accepted; what failed: {found.on_failure}"
    click.echo(f"{safe(found.name)}: {holds}; {_state(found)}")
    if found.breaker is BreakerState.CLOSED:
        click.echo(safe(limits.breaker_words(found)))
    rows = Rows("key", "running", "on its way", "waiting", right=["running", "on its way", "waiting"])
    for key in found.keys:
        shown = safe(key.permit.partition(":")[2]) or "–"
        rows.add(shown, f"{key.running:,}", f"{key.on_their_way:,}", _waiting(key.waiting))
    if found.keys:
        rows.print(ctx)


def set_values(
    ctx: click.Context,
    app: Celeriac,
    name: str,
    *,
    concurrency: int | None,
    rate: str | None,
    unset: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    actor = Actor.at_the_terminal()
    if unset:
        if concurrency is not None or rate is not None:
            raise click.UsageError("--as-code-says takes no other value")
        limits.unset_limit(name, actor=actor, reason=reason, app=app)
    else:
        limits.set_limit(name, actor=actor, concurrency=concurrency, rate=rate, reason=reason, app=app)
    show_limit(ctx, app, name, as_json=as_json)


def pause(app: Celeriac, name: str, *, reason: str | None, as_json: bool) -> None:
    changed = limits.pause_limit(name, actor=Actor.at_the_terminal(), reason=reason, app=app)
    _tell("limit pause", name, changed, "paused" if changed else "paused already", as_json=as_json)


def resume(app: Celeriac, name: str, *, reason: str | None, as_json: bool) -> bool:
    changed = limits.resume_limit(name, actor=Actor.at_the_terminal(), reason=reason, app=app)
    _tell("limit resume", name, changed, "goes on" if changed else "was not paused", as_json=as_json)
    return changed


def switch(app: Celeriac, name: str, to: str, *, reason: str | None, as_json: bool) -> None:
    wanted = None if to == AUTO else BreakerState(to)
    limits.switch_breaker(name, wanted, actor=Actor.at_the_terminal(), reason=reason, app=app)
    words = "its breaker judges again" if wanted is None else f"its breaker is {wanted}, whatever fails"
    _tell("limit breaker", name, True, words, as_json=as_json)


def _tell(action: str, name: str, changed: bool, words: str, *, as_json: bool) -> None:
    if as_json:
        output.emit(action, name=name, changed=changed)
    else:
        click.echo(f"{safe(name)}: {words}")


def _state(found: LimitStatus) -> str:
    if found.paused is not None:
        why = f": {safe(found.pause_reason)}" if found.pause_reason else ""
        return f"paused by {safe(found.paused_by or '')}{why}"
    if found.breaker not in (None, BreakerState.CLOSED):
        return safe(limits.breaker_words(found))
    if found.by_code:
        return "as the code says"
    said = f"{_number(found.code_concurrency)} at once, rate {found.code_rate or '–'}"
    return f"set by {safe(found.set_by or '')}; the code says {said}"


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _waiting(count: int) -> str:
    return f"{count:,}+" if count >= limits.MOST else f"{count:,}"
