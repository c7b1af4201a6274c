"""What a real worker counts."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, select

from celeriac.application import Celeriac
from celeriac.ledger.schema.operator_tables import ENDED_COUNTS
from celeriac.operate.history.series import series
from celeriac.operate.job import job
from tests.scrape import scraped
from tests.servers import free_port
from tests.support import wait_until
from tests.workers import Worker


def test_a_worker_counts_what_it_does(
    producer: Celeriac, redis_url: str, postgres_url: str, start_worker: Callable[..., Worker]
) -> None:
    port, tasks = free_port(), producer.tasks
    ids = [
        tasks["tests.sleep"].delay(0.3).id,
        tasks["tests.flaky"].delay(1).id,
        tasks["tests.add"].delay(1, 2).id,
    ]
    ids.append(tasks["tests.add"].apply_async((1, 2), countdown=0.5).id)
    ids.append(tasks["tests.fail"].apply_async(max_tries=1).id)
    start_worker(redis_url, postgres_url, settings={"health_port": port}).ready()
    wait_until(lambda: all(job(id, app=producer).is_terminal for id in ids), within=30, saying="all are done")

    found = scraped(port)

    def value(name: str, **labels: str) -> float:
        return found[f"celeriac_worker_{name}", tuple(sorted(labels.items()))]

    assert value("attempts_total", task="tests.add", outcome="completed") == 2
    assert value("attempts_total", task="tests.flaky", outcome="error") == 1
    assert value("attempts_total", task="tests.flaky", outcome="completed") == 1
    assert value("attempts_total", task="tests.fail", outcome="failed") == 1
    assert value("run_seconds_count", task="tests.flaky") == 2
    assert 0.3 <= value("run_seconds_sum", task="tests.sleep") < 20
    assert value("wait_seconds_count", queue="normal") == 6
    assert value("dispatched_total") == 2  # the delayed one and the retry
    assert value("dispatch_lag_seconds_count") in (1, 2)
    assert value("turn_seconds_count") == value("turn_jobs_count") > 0
    assert value("turn_jobs_sum") == 12
    assert value("held") == 0
    assert value("prefetch") >= 2
    wait_until(
        lambda: sum(series("1h", app=producer).completed) == 4 and _counted(producer),
        within=90,
        saying="its keeper has counted the jobs that ended",
    )


def _counted(app: Celeriac) -> bool:
    with app.database.reading() as connection:
        return connection.execute(select(func.sum(ENDED_COUNTS.c.attempts))).scalar_one() is not None
