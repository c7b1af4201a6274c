"""``doctor`` as lines and as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from celery.app.utils import find_app
from rich.console import Console
from rich.text import Text

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.display import counted, safe
from celeriac.operate.adoption import Kind, Note, lint, lint_source
from celeriac.operate.doctor import Finding, Level, examine, status

_KINDS = {Kind.BLOCKS: "bold red", Kind.CHANGE: "yellow", Kind.NOTE: "dim"}
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
    """Exits with 1 while something blocks."""
    notes = _notes(name)
    blocking = sum(note.kind is Kind.BLOCKS for note in notes)
    if as_json:
        output.emit("doctor --adopt", app=name, blocking=blocking, notes=notes)
        ctx.exit(1 if blocking else 0)
    console = output.console(ctx)
    for note in notes:
        head = ((f"{note.kind:<8}", _KINDS[note.kind]), (f"{note.about}: ", "bold"))
        console.print(Text.assemble(*head, safe(note.sentence)), soft_wrap=True)
        console.print(Text(f"{'':<8}→ {safe(note.remedy)}", "dim"), soft_wrap=True)
    console.print(Text(f"{counted(blocking, 'blocker')}, {counted(len(notes) - blocking, 'other note')}"))
    ctx.exit(1 if blocking else 0)


def _notes(name: str) -> list[Note]:
    """On an app, by the name that ``celery -A`` takes; on a tree of source files, by its path."""
    tree = Path(name)
    if tree.is_dir() and (os.sep in name or name in (os.curdir, os.pardir) or not _is_package(tree)):
        return lint_source(tree.resolve())
    sys.path.insert(0, os.getcwd())
    try:
        app = find_app(name)
    except Exception as exc:  # whatever its import raises is the user's own affair
        raise click.BadParameter(
            f"{name!r} cannot be imported: {safe(repr(exc))}; name its folder, and the source alone is read",
            param_hint="--adopt",
        ) from None
    if isinstance(app, Celeriac):
        raise click.BadParameter(f"{name!r} is a Celeriac app already", param_hint="--adopt")
    return lint(app)


def _is_package(tree: Path) -> bool:
    return (tree / "__init__.py").is_file()


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
