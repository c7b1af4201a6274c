"""The recipes of docs/flow-control.md as a module of tasks, and what each of them is to do.

``python -m tests.recipes MODULE WITNESS COMMAND`` enqueues, in a process of its own: tasks that are declared
stay declared. ``MODULE`` is what ``write`` has made of the page, word for word.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.documented import ROOT, Kind, blocks
from tests.witness import END, START, Witness, mark

PAGE = ROOT / "docs" / "flow-control.md"

_HEADING = "## Recipes"
_FIRST = """from tests.recipes import as_code_of_the_reader

globals().update(as_code_of_the_reader({path!r}))
"""


def text() -> str:
    """All recipes, as one reads them."""
    lines = PAGE.read_text().splitlines()
    first = lines.index(_HEADING)
    return "\n\n\n".join(
        block.text for block in blocks(PAGE) if block.line > first and block.kind is Kind.PYTHON
    )


def write(folder: Path, witness: Path) -> str:
    """Write the module that a worker includes into ``folder``; return its name."""
    (folder / "recipes_of_the_page.py").write_text(f"{_FIRST.format(path=str(witness))}\n{text()}\n")
    return "recipes_of_the_page"


def as_code_of_the_reader(path: str) -> dict[str, Callable[..., Any]]:
    """The functions that the recipes call and do not define. Each marks its run."""

    def run(name: str, result: Any = None, seconds: float = 0.05) -> Any:
        mark(path, name, 1, START)
        time.sleep(seconds)
        mark(path, name, 1, END)
        return result

    def ask_service(order: int) -> Any:
        asked_before = Witness(path).starts()["service:0"]
        run(f"service:{order}", seconds=0)
        told_off = order == 0 and not asked_before
        return SimpleNamespace(status=429 if told_off else 200, retry_after=2, text=f"answer {order}")

    def fill_cache(key: str) -> None:
        mark(path, f"cache:{key}", 1, START)
        while not Path(f"{path}.gate").exists():
            time.sleep(0.02)

    def draw(number: int, *, weight: int) -> None:
        run(f"draw:{weight}", seconds=0.2)

    return {
        "ask_service": ask_service,
        "write_export": lambda customer, part: run(f"export:{customer}"),
        "migrate": lambda table: run("migration"),
        "draw": draw,
        "write_booking": lambda account, number: run(f"book:{account}:{number}"),
        "place_order": lambda basket: run(f"order:{basket}", basket),
        "fill_cache": fill_cache,
        "send": lambda account, state: run(f"state:{account}", state),
        "mail_reminder": lambda user: run(f"remind:{user}", user),
        "index": lambda product, text: run(f"index:{product}", text),
        "save": lambda draft, text: run(f"draft:{draft}", text),
        "pull_changes": lambda customer: run(f"pull:{customer}", customer),
        "apply_state": lambda customer, state: run(f"apply:{customer}", state),
        "import_file": lambda customer, file: run(f"import:{customer}", seconds=0.1),
        "insert_rows": lambda rows: mark(path, "insert", len(rows), START),
    }


def enqueue(recipes: Any) -> dict[str, list[str]]:
    """What waits when a worker starts; the jobs' ids by the names of the tasks, one for each call."""
    calls: list[tuple[Any, tuple[Any, ...]]] = []
    calls += [(recipes.call_service, (order,)) for order in range(3)]
    calls += [(recipes.export, (customer, part)) for part in range(3) for customer in "ab"]
    calls += [
        (task, (str(number),)) for number in (1, 2) for task in (recipes.add_column, recipes.fill_column)
    ]
    calls += [(recipes.thumbnail, (number,)) for number in range(8)]
    calls += [(recipes.video, (number,)) for number in range(3)]
    calls += [(recipes.book, ("x", number)) for number in range(5)]
    calls += [(recipes.order, (7,)), (recipes.order, (7,))]
    calls += [(recipes.rebuild, ("k",))]
    calls += [(recipes.send_state, ("x", state)) for state in ("old", "new")]
    calls += [(recipes.remind, (7,)), (recipes.remind, (7,))]
    calls += [(recipes.reindex, (7, word)) for word in ("old", "new")]
    calls += [(recipes.save_draft, (7, word)) for word in ("old", "new")]
    calls += [(recipes.pull, ("x",)), (recipes.pull, ("x",))]
    calls += [(recipes.apply, ("x", word)) for word in ("old", "new")]
    calls += [(recipes.read_file, ("large", number)) for number in range(20)]
    calls += [(recipes.read_file, ("small", 0))]
    calls += [(recipes.insert, (number,)) for number in range(30)]
    found: dict[str, list[str]] = {}
    for task, args in calls:
        found.setdefault(task.name, []).append(task.delay(*args).id)
    return found


def _job(found: Any) -> dict[str, Any]:
    return {"state": str(found.state), "result": found.result, "tries": found.try_count}


def _during_the_run(recipes: Any) -> dict[str, list[str]]:
    """Calls while the first rebuild runs, and when a reminder was sent: the same answer, or another job."""
    rebuilt, reminded = recipes.rebuild.delay("k"), recipes.remind.delay(7)
    return {recipes.rebuild.name: [rebuilt.id], recipes.remind.name: [reminded.id]}


def _drained(recipes: Any, path: str) -> dict[str, Any]:
    """All of them with the test kit: time that they wait for is let pass."""
    from app.celery import app
    from celeriac.testing import Kit, new_ledger

    Path(f"{path}.gate").touch()
    with Kit(app, new_ledger(Path(f"{path}.db"))) as kit:
        ids = enqueue(recipes)
        kit.drain()
        kit.travel(timedelta(seconds=10))
        kit.drain()
        return {"ids": ids, "jobs": {job.id: _job(job) for job in kit.jobs()}}


def main(module: str, path: str, command: str) -> Mapping[str, Any]:
    from app.celery import app
    from celeriac.operate.job import jobs

    recipes = import_module(module)
    if command == "enqueue":
        return enqueue(recipes)
    if command == "during":
        return _during_the_run(recipes)
    if command == "drain":
        return _drained(recipes, path)
    return {job.id: _job(job) for job in jobs(limit=1000, app=app)}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
