"""Commands of ``celery -A app``, called in this process with an app of the test's own."""

from __future__ import annotations

import inspect
import json
from typing import Any

from celery.bin.base import CLIContext
from celery.bin.celery import celery
from click.testing import CliRunner, Result

from celeriac.application import Celeriac


def runner(**options: Any) -> CliRunner:
    """It keeps stderr apart, which click before 8.2 does only when it is asked to."""
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    return CliRunner(**options, **apart)


def said(found: Result) -> str:
    """All that a command prints: click before 8.2 has no ``output`` of both where they are kept apart."""
    return found.stdout + found.stderr


def call(app: Celeriac, *words: object, answer: str = "", columns: int = 200) -> Result:
    """What a command says and returns; ``answer`` is what is typed when it asks."""
    command = celery.commands[str(words[0])]
    context = CLIContext(app=app, no_color=True, workdir=None)
    found = runner(env={"COLUMNS": str(columns)}).invoke(
        command, [str(word) for word in words[1:]], obj=context, input=answer
    )
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def told(app: Celeriac, *words: object) -> dict[str, Any]:
    """The JSON object of a command."""
    found = call(app, *words, "--json")
    assert found.stdout, found.stderr
    value: dict[str, Any] = json.loads(found.stdout)
    return value
