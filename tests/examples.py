"""Runs the examples of every public object, each on a private ledger: ``python -m tests.examples FOLDER``.

In a process of its own, because tasks that are declared stay declared. Prints a line of JSON: what went
wrong, by name.
"""

from __future__ import annotations

import asyncio
import doctest
import json
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.celery import app
from celeriac.testing import Kit, new_ledger
from tests import public, reader


def stage(kit: Kit, folder: Path) -> dict[str, Any]:
    """What an example takes for granted: the public names, tasks, and the fixture ``celeriac``."""
    ours = {name.rpartition(".")[2]: found for name, found in reversed(public.names().items())}
    given = reader.stage(kit)
    given["order_id"] = 1  # of the first order in a new database
    clock = {"UTC": UTC, "datetime": datetime, "timedelta": timedelta}
    return {**ours, **given, **clock, "asyncio": asyncio, "kit": kit, "folder": folder}


def main(folder: Path) -> None:
    template = new_ledger(folder / "empty.db")
    wrong: dict[str, str] = {}
    found = public.examples()
    for number, (name, example) in enumerate(found.items()):
        own = folder / str(number)
        own.mkdir()
        known = set(app.tasks)
        with Kit(app, Path(shutil.copy(template, own / "ledger.db"))) as kit:
            example.globs = stage(kit, own)
            report: list[str] = []
            runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
            if runner.run(example, out=report.append).failed:
                wrong[name] = "".join(report)
        for declared in set(app.tasks) - known:  # a name may be another task's in another example
            app.tasks.unregister(declared)
    print(json.dumps({"ran": [*found], "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
