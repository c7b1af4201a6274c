"""``alerts list`` and ``alerts test``, for people and as JSON."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.cli.rows import Rows
from celeriac.display import ago, safe
from celeriac.operate.actions import Actor
from celeriac.operate.alerts import rounds, trial
from celeriac.operate.alerts.trial import Sent


def show_all(ctx: click.Context, app: Celeriac, *, as_json: bool) -> None:
    found = rounds.list_alerts(app=app)
    if as_json:
        output.emit("alerts list", channels=app.settings.alert_channels, alerts=found)
    elif found:
        now = datetime.now(UTC)
        rows = Rows("since", "kind", "what", note=True)
        for each in found:
            rows.add(ago(each.since, now), output.cell(each.kind), output.cell(each.sentence))
        rows.print(ctx)
    else:
        output.note(ctx, "nothing is wrong that was told")
    if not as_json and not app.settings.alert_channels:
        output.note(ctx, "nobody is told: no receiver is named in CELERIAC_ALERT_…")
    ctx.exit(0 if found else 1)


def test(ctx: click.Context, app: Celeriac, *, wait: float, as_json: bool) -> None:
    sent = trial.send(actor=Actor.at_the_terminal(), app=app)
    if not as_json:
        output.note(ctx, f"a message for {', '.join(one.channel for one in sent)} is on its way")
    found = trial.outcomes(sent, within=wait, app=app)
    if as_json:
        output.emit("alerts test", sent=found)
    for one in found if not as_json else ():
        click.echo(f"{one.channel}: {_in_words(one, wait)}")
    ctx.exit(0 if all(one.taken for one in found) else 1)


def _in_words(one: Sent, wait: float) -> str:
    if one.taken is None:
        return f"not sent within {wait:g} s: is a worker running? celery -A app jobs explain {one.id}"
    if one.taken:
        return "taken"
    return f"not taken, it is tried again: {safe(one.failure)}"
