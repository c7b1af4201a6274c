"""Each recipe of docs/flow-control.md, copied from the page: by a real worker, and with the test kit."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests import recipes
from tests.processes import run
from tests.support import wait_until
from tests.witness import START, Mark, Witness
from tests.workers import PATIENT, ROOT, Worker, environment

SETTINGS = {"fair_by": "imports=customer"}


class Reader:
    """Whoever has copied the recipes into a module."""

    def __init__(self, broker: str, database: str, folder: Path) -> None:
        self.path = folder / "witness"
        self.witness = Witness(self.path)
        self.module = recipes.write(folder, self.path)
        self.settings = {**SETTINGS, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
        self._env = environment(broker, database, self.settings)

    def ask(self, command: str) -> Any:
        argv = [sys.executable, "-m", "tests.recipes", self.module, str(self.path), command]
        ended = run(argv, cwd=ROOT, env=PATIENT | self._env)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout.splitlines()[-1])

    def marks(self, name: str) -> list[Mark]:
        return [mark for mark in self.witness.marks() if mark.job_id.startswith(name)]

    def runs(self, name: str) -> int:
        return sum(mark.event == START for mark in self.marks(name))

    def at_once(self, name: str, weigh: Callable[[Mark], int] = lambda mark: 1) -> int:
        """How much of it ran at the same time, at most."""
        running = most = 0
        for mark in sorted(self.marks(name), key=lambda mark: (mark.at, mark.event == START)):
            running += weigh(mark) if mark.event == START else -weigh(mark)
            most = max(most, running)
        return most


@pytest.fixture
def reader(redis_url: str, database_url: str, tmp_path: Path) -> Reader:
    return Reader(redis_url, database_url, tmp_path)


def test_every_recipe_does_what_the_page_says(
    reader: Reader, start_worker: Callable[..., Worker], redis_url: str, database_url: str
) -> None:
    ids = reader.ask("enqueue")
    _require_one_answer(ids)
    start_worker(
        redis_url, database_url, concurrency=4, settings=reader.settings, include=reader.module
    ).ready()
    wait_until(
        lambda: reader.runs("cache:") == 1 and reader.runs("remind:") == 1,
        within=60,
        saying="the cache is rebuilt, the reminder is sent",
    )
    later = reader.ask("during")
    assert later["recipes.rebuild"] != ids["recipes.rebuild"], "what changed meanwhile is another job"
    assert later["recipes.remind"] == ids["recipes.remind"][:1], "one a day"
    Path(f"{reader.path}.gate").touch()
    found = _ended(reader)
    assert {each["state"] for each in found.values()} == {"completed"}
    _require_results(ids, found)
    _require_limits(reader)
    _require_turns(reader)


def test_every_recipe_drains_with_the_test_kit(reader: Reader) -> None:
    told = reader.ask("drain")
    ids, found = told["ids"], told["jobs"]
    _require_one_answer(ids)
    assert {each["state"] for each in found.values()} == {"completed"}
    _require_results(ids, found)
    assert [mark.attempt for mark in reader.marks("insert")] == [1] * 30, "each is a batch of its own"


def test_no_recipe_is_left_out() -> None:
    """Of the tasks on the page, each is enqueued here."""
    named = {line.split('"')[1] for line in recipes.text().splitlines() if 'name="recipes.' in line}
    used = Path(recipes.__file__).read_text()
    assert len(named) == 17
    assert {name for name in named if name not in used} == set()


def _ended(reader: Reader) -> dict[str, Any]:
    told: dict[str, Any] = {}

    def ended() -> bool:
        told.update(reader.ask("jobs"))
        return all(each["state"] in ("completed", "failed", "cancelled") for each in told.values())

    wait_until(ended, within=120, saying="all have ended")
    return told


def _require_one_answer(ids: dict[str, list[str]]) -> None:
    """Which calls are answered with the same job."""
    alike = {name for name, given in ids.items() if len(given) > len(set(given))}
    assert alike == {
        f"recipes.{name}"
        for name in ("order", "send_state", "remind", "reindex", "save_draft", "pull", "apply")
    }
    assert all(len(set(ids[name])) == 1 for name in alike)


def _require_results(ids: dict[str, list[str]], found: dict[str, Any]) -> None:
    results = {name: [found[id]["result"] for id in dict.fromkeys(given)] for name, given in ids.items()}
    assert results["recipes.call_service"] == ["answer 0", "answer 1", "answer 2"]
    assert (results["recipes.order"], results["recipes.remind"]) == ([7], [7])
    for name in ("send_state", "reindex", "save_draft", "apply"):
        assert results[f"recipes.{name}"] == ["new"], name


def _require_limits(reader: Reader) -> None:
    first, *others = sorted(mark.at for mark in reader.marks("service:") if mark.event == START)
    assert others[0] - first > 1.5, "nothing of the limit starts while it rests"
    assert all(later - one > 0.5 for one, later in pairwise(others)), "100 a minute"
    assert (reader.at_once("export:a"), reader.at_once("export:b")) == (1, 1)
    assert reader.at_once("migration") == 1
    assert reader.at_once("draw:", lambda mark: int(mark.job_id[-1])) <= 8
    numbers = [mark.job_id[-1] for mark in reader.marks("book:x") if mark.event == START]
    assert (numbers, reader.at_once("book:x")) == (list("01234"), 1)
    runs = Counter({name: reader.runs(name) for name in ("order:", "state:", "remind:", "index:", "draft:")})
    assert runs == dict.fromkeys(runs, 1)
    assert (reader.runs("pull:"), reader.runs("apply:"), reader.runs("cache:")) == (1, 1, 2)


def _require_turns(reader: Reader) -> None:
    imports = [mark.job_id for mark in reader.marks("import:") if mark.event == START]
    assert len(imports) == 21
    assert imports.index("import:small") < 10, "it waits for no twenty others"
    sizes = [mark.attempt for mark in reader.marks("insert")]
    assert sum(sizes) == 30
    assert max(sizes) > 1
