"""Commands of ``celery -A app``, called in this process with an app of the test's own."""

from __future__ import annotations

import json
from typing import Any

from celery.bin.base import CLIContext
from celery.bin.celery import celery
from click.testing import CliRunner, Result

from celeriac.application import Celeriac


def call(app: Celeriac, *words: object, answer: str = "", columns: int = 200) -> Result:
    """What a command says and returns; ``answer`` is what is typed when it asks."""
    command = celery.commands[str(words[0])]
    context = CLIContext(app=app, no_color=True, workdir=None)
    runner = CliRunner(env={"COLUMNS": str(columns)})
    found = runner.invoke(command, [str(word) for word in words[1:]], obj=context, input=answer)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def told(app: Celeriac, *words: object) -> dict[str, Any]:
    """The JSON object of a command."""
    found = call(app, *words, "--json")
    assert found.stdout, found.stderr
    value: dict[str, Any] = json.loads(found.stdout)
    return value
