"""Batches as they are declared, and what cannot be had together with them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from celeriac import Batch, BatchedJob, Limit, OrderedBy
from celeriac.application import Celeriac
from celeriac.errors import BadArgument
from celeriac.settings.platform import Settings
from celeriac.task.batch.attempt import BatchRun
from tests.apps import build


@pytest.fixture
def app(tmp_path: Path) -> Celeriac:
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'ledger.db'}")
    return build(settings, name="batches", set_as_current=False)


def run(jobs: list[BatchedJob]) -> None: ...


async def arun(jobs: list[BatchedJob]) -> None: ...


@pytest.mark.parametrize(
    "values",
    [
        *({"size": size} for size in (0, 1001, True, "9")),
        *({"size": 9, "wait": wait} for wait in (0, 61, timedelta(0), "2")),
    ],
)
def test_a_batch_that_can_mean_nothing_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadArgument, match="batch"):
        Batch(**values)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bind": True}, "bind=True: self is of one job"),
        ({"autoretry_for": (ValueError,)}, "autoretry_for"),
        ({"rate_limit": "1/s"}, "rate_limit holds jobs back"),
        ({"Strategy": "some:strategy"}, "a Strategy of its own"),
        ({"ordered_by": "account"}, "ordered_by: jobs of one key run one after the other"),
        ({"ordered_by": OrderedBy("account")}, "ordered_by"),
    ],
)
def test_what_a_batch_cannot_obey_is_refused_by_its_name(
    app: Celeriac, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadArgument, match=words):
        app._task_from_fun(run, name="refused", batch=Batch(9), **options)


def test_an_async_def_and_a_call_of_its_own_are_refused(app: Celeriac) -> None:
    with pytest.raises(BadArgument, match="async def"):
        app._task_from_fun(arun, name="later", batch=Batch(9))
    with pytest.raises(BadArgument, match="a __call__ of its own"):

        class Own(app.Task):  # type: ignore[misc,name-defined]
            name = "own"
            batch = Batch(9)

            def __call__(self, *args: Any) -> Any: ...

    task = app._task_from_fun(run, name="fine", batch=Batch(9), limit=Limit("a", concurrency=1))
    with pytest.raises(BadArgument, match="where the task is defined"):
        task.batch = Batch(10)


def test_another_attribute_of_that_name_is_the_authors_own(app: Celeriac) -> None:
    task = app._task_from_fun(run, name="mine", batch="of the author")
    assert (task.batch, task.typing) == ("of the author", True)


def test_a_job_has_one_outcome() -> None:
    job = BatchedJob("a", [], {}, 1)
    job.complete()
    with pytest.raises(BadArgument, match="job a has one already"):
        job.fail(ValueError())
    with pytest.raises(BadArgument, match="wanted an exception, found str"):
        BatchedJob("b", [], {}, 1).fail("no")  # type: ignore[arg-type]


def test_the_function_runs_once_for_all_and_what_it_said_of_a_job_stands() -> None:
    calls: list[int] = []

    def function(jobs: list[BatchedJob]) -> None:
        calls.append(len(jobs))
        jobs[0].complete("done")
        raise ValueError("of the others")

    whole = BatchRun({name: BatchedJob(name, [], {}, 1) for name in "ab"})
    with pytest.raises(ValueError, match="of the others"):
        whole.outcome("b", None, function)
    assert whole.outcome("a", None, function) == "done"
    assert calls == [2]


def test_in_eager_mode_each_job_is_a_batch_of_its_own(app: Celeriac) -> None:
    def double(jobs: list[BatchedJob]) -> None:
        for job in jobs:
            job.complete(job.args[0] * 2)

    task = app._task_from_fun(double, name="double", batch=Batch(9))
    assert task.apply((21,)).get() == 42
