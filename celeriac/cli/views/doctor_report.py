"""``doctor`` as lines and as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from celery.app.utils import find_app
from rich.console import Console
from rich.text import Text

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.display import counted, safe
from celeriac.operate.adoption import Kind, lint
from celeriac.operate.doctor import Finding, Level, examine, status

_KINDS = {Kind.RISK: "bold red", Kind.CHANGE: "yellow", Kind.NOTE: "dim"}
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


def show_adoption(ctx: click.Context, name: str, *, as_json: bool) -> None:
    """Exits with 1 when something is at risk."""
    notes = lint(_plain_app(name))
    risks = sum(note.kind is Kind.RISK for note in notes)
    if as_json:
        output.emit("doctor --adopt", app=name, risks=risks, notes=notes)
        ctx.exit(1 if risks else 0)
    console = output.console(ctx)
    for note in notes:
        head = ((f"{note.kind:<8}", _KINDS[note.kind]), (f"{note.about}: ", "bold"))
        console.print(Text.assemble(*head, safe(note.sentence)), soft_wrap=True)
        console.print(Text(f"{'':<8}→ {safe(note.remedy)}", "dim"), soft_wrap=True)
    console.print(Text(f"{counted(risks, 'risk')}, {counted(len(notes) - risks, 'other note')}"))
    ctx.exit(1 if risks else 0)


def _plain_app(name: str) -> Any:
    sys.path.insert(0, os.getcwd())
    try:
        return find_app(name)
    except Exception as exc:  # whatever its import raises is the user's own affair
        raise click.BadParameter(
            f"{name!r} cannot be imported: {safe(repr(exc))}", param_hint="--adopt"
        ) from None


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
