"""``doctor`` as lines and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import Console
from rich.text import Text

from app.application import Celeriac
from app.cli import output
from app.display import safe
from app.doctor import Finding, Level, examine, status

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def show(ctx: click.Context, app: Celeriac, *, as_json: bool) -> None:
    findings = examine(app)
    if as_json:
        output.emit("doctor", status=_worst(findings), findings=findings)
    else:
        console = output.console(ctx)
        for finding in findings:
            _print(console, finding)
        console.print(_summary(findings))
    ctx.exit(status(findings))


def _print(console: Console, finding: Finding) -> None:
    head = ((f"{finding.level:<5}", _STYLES[finding.level]), (f"{finding.area:<10}", "bold"))
    console.print(Text.assemble(*head, f"{finding.check}: {safe(finding.sentence)}"), soft_wrap=True)
    if finding.remedy is not None:
        console.print(Text(f"{'':<15}→ {safe(finding.remedy)}", "dim"), soft_wrap=True)


def _summary(findings: Sequence[Finding]) -> Text:
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    text = ", ".join(f"{count} {level}" for level, count in counts.items())
    return Text(text, _STYLES[_worst(findings)])


def _worst(findings: Sequence[Finding]) -> Level:
    return [Level.OK, Level.WARN, Level.FAIL][status(findings)]
