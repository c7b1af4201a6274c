"""Tasks whose code is elsewhere: sent by one code base, run by a worker of another, with one ledger."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from celeriac import Celeriac, explain, job
from celeriac.errors import InvalidSchedule, UnknownTask
from celeriac.ledger import migrate
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate import dead_letters
from celeriac.operate.doctor import workers_check
from celeriac.operate.doctor.finding import Level
from celeriac.operate.explain import Reason
from celeriac.schedules import register
from tests.support import wait_until
from tests.workers import CeleryProcess, environment

BILLING = """
from celeriac import Celeriac

app = Celeriac("billing")

@app.task(name="billing.charge", bind=True)
def charge(self, order):
    if order < 0:
        raise ValueError(order)
    return [self.name, order]
"""


class BillingWorker(CeleryProcess):
    def _words(self, command: str) -> tuple[str, ...]:
        return ("celery", "-A", "billing", command)


@pytest.fixture
def shop(redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    """An app that has no code of billing."""
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    foreign = ("billing.*",)
    made = Celeriac(
        "shop", broker=redis_url, ledger=database_url, celeriac_foreign_tasks=foreign, set_as_current=False
    )
    migrate.upgrade(made.settings.database)
    with closing(made.database):
        yield made
        made.close()


@pytest.fixture
def billing(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[BillingWorker]:
    (tmp_path / "billing.py").write_text(BILLING)
    path = os.pathsep.join((str(tmp_path), *sys.path))
    worker = BillingWorker(
        "worker", ["-P", "solo", "-l", "INFO"], env=environment(redis_url, database_url, {"PYTHONPATH": path})
    )
    yield worker
    worker.close()


def ended(shop: Celeriac, id: str) -> bool:
    return job(id, app=shop).state in (JobState.COMPLETED, JobState.FAILED)


def told(shop: Celeriac) -> list[str]:
    findings = workers_check.judge(workers_check.read(shop))
    return [each.sentence for each in findings if each.level is not Level.OK]


def test_a_worker_of_the_other_code_base_runs_what_is_sent_by_name(
    shop: Celeriac, billing: BillingWorker
) -> None:
    sent = [
        shop.send_task("billing.charge", (1,)).id,
        shop.enqueue_by_name("billing.charge", [2], {}),
        shop.signature("billing.charge", (3,)).delay().id,
    ]
    billing.start()
    for number, id in enumerate(sent, 1):
        wait_until(lambda id=id: ended(shop, id), within=120, saying="the job ran")
        assert job(id, app=shop).result == ["billing.charge", number]
    assert shop.AsyncResult(sent[0]).get(timeout=60) == ["billing.charge", 1]
    assert not any("billing" in sentence for sentence in told(shop))


def test_a_dead_letter_of_another_code_base_is_replayed_with_other_arguments(
    shop: Celeriac, billing: BillingWorker
) -> None:
    id = shop.send_task("billing.charge", (-1,), max_tries=1).id
    billing.start()
    wait_until(lambda: job(id, app=shop).state is JobState.FAILED, within=120, saying="it failed")
    assert dead_letters.replay_one(id, args=[5], app=shop)
    wait_until(lambda: job(id, app=shop).state is JobState.COMPLETED, within=120, saying="it ran")
    assert job(id, app=shop).result == ["billing.charge", 5]


def test_explain_and_doctor_say_that_no_worker_knows_the_task(shop: Celeriac, billing: BillingWorker) -> None:
    id = shop.send_task("billing.refund", (1,)).id
    billing.start().logged("ready", within=120)
    wait_until(
        lambda: explain(id, app=shop).reason is Reason.UNKNOWN_TASK, within=60, saying="nobody knows it"
    )
    assert "knows the task 'billing.refund'" in explain(id, app=shop).sentence
    shop.conf.celeriac_foreign_tasks = ("billing.*", "mail.*")
    assert [each for each in told(shop) if "FOREIGN" in each] == [
        "no live worker knows a task of 'mail.*' (CELERIAC_FOREIGN_TASKS)"
    ]


def test_without_the_setting_a_name_of_other_code_is_refused(shop: Celeriac) -> None:
    shop.conf.celeriac_foreign_tasks = ("mail.*",)
    for send in (shop.send_task, lambda name: shop.enqueue_by_name(name, (), {})):
        with pytest.raises(UnknownTask, match="one of other code is named in CELERIAC_FOREIGN_TASKS"):
            send("billing.charge")


def test_a_schedule_may_be_of_a_task_of_other_code(shop: Celeriac) -> None:
    made = register("nightly", task="billing.charge", args=[1], cron="0 3 * * *", app=shop)
    assert made.task == "billing.charge"
    with pytest.raises(InvalidSchedule, match="one of other code is named in CELERIAC_FOREIGN_TASKS"):
        register("hourly", task="elsewhere.charge", args=[1], cron="0 3 * * *", app=shop)
