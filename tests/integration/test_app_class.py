"""Apps made by the class: several in one process, pickled, with tasks of which one cannot be obeyed."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from celeriac import BadArgument, Celeriac, JobNotFound, job, jobs
from celeriac.ledger import migrate
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.doctor.settings_check import refused_tasks
from celeriac.testing import Kit
from tests.workers import celery, environment


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "DATABASE_URL", "CELERIAC_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CELERIAC_DATA_DIR", str(tmp_path / "data"))


def an_app(name: str, tmp_path: Path, **options: Any) -> Celeriac:
    """With a ledger of its own, and a broker where nobody listens."""
    ledger = f"sqlite:///{tmp_path / name}.db"
    app = Celeriac(name, broker="redis://127.0.0.1:1/0", ledger=ledger, set_as_current=False, **options)
    migrate.upgrade(app.settings.database)
    return app


@pytest.fixture
def celeriac_app(tmp_path: Path) -> Iterator[Celeriac]:
    app = Celeriac("kit", broker="redis://127.0.0.1:1/0", set_as_current=False)
    yield app
    app.close()


def _work() -> int:
    return 1


def test_at_its_end_an_app_closes_its_connections_to_the_ledger(tmp_path: Path) -> None:
    closed: list[object] = []
    with an_app("it", tmp_path) as app:
        event.listen(app.database.engine, "close", lambda driver, entry: closed.append(driver))
        app.task(name="t", shared=False)(_work).delay()
        assert closed == []
    assert len(closed) == 1
    assert len(jobs(app=app)) == 1  # the next use opens another one
    app.close()


# ---- several of them


def test_each_app_of_a_process_has_a_ledger_of_its_own(tmp_path: Path) -> None:
    one, two = an_app("one", tmp_path), an_app("two", tmp_path, celeriac_max_tries=2)
    with closing(one.database), closing(two.database):
        ids = [app.task(name="t", shared=False)(_work).delay().id for app in (one, two)]
        for id, app, other, tries in ((ids[0], one, two, 5), (ids[1], two, one, 2)):
            assert job(id, app=app).max_tries == tries
            with pytest.raises(JobNotFound):
                job(id, app=other)


def test_each_app_survives_pickling_as_itself(tmp_path: Path) -> None:
    one, two = an_app("one", tmp_path), an_app("two", tmp_path)
    for app in (one, two):
        assert pickle.loads(pickle.dumps(app)) is app


_PICKLED = """
import pickle, sys
from proj.work import first, second
from celeriac import Celeriac
for app, name in ((first, "first"), (second, "second")):
    data = pickle.dumps(app)
    open(sys.argv[1] + "/" + name, "wb").write(data)
"""

_READ = """
import pickle, sys
apps = [pickle.load(open(sys.argv[1] + "/" + name, "rb")) for name in ("first", "second")]
from proj.work import first, second
assert apps == [first, second], apps
"""


def test_an_app_is_found_by_another_process_through_its_module(tmp_path: Path) -> None:
    (tmp_path / "proj").mkdir()
    (tmp_path / "proj" / "__init__.py").touch()
    (tmp_path / "proj" / "work.py").write_text(
        'from celeriac import Celeriac\nfirst = Celeriac("same")\nsecond = Celeriac("same")\n'
    )
    for code in (_PICKLED, _READ):
        argv = [sys.executable, "-c", code, str(tmp_path)]
        subprocess.run(argv, cwd=tmp_path, check=True, timeout=300)


# ---- one bad task


def test_a_task_that_cannot_be_obeyed_breaks_no_other(celeriac: Kit) -> None:
    app = celeriac.app
    good = app.task(name="good", shared=False)(_work)
    bad = app.task(name="bad", acks_late=False, shared=False)(_work)
    with pytest.raises(BadArgument, match="bad: acks_late: the ledger needs late ack"):
        bad.delay()
    good.delay()
    celeriac.drain()
    assert [each.state for each in celeriac.jobs()] == [JobState.COMPLETED]
    assert [finding.sentence for finding in refused_tasks(app)] == [
        "jobs of bad are refused: acks_late: the ledger needs late acknowledgement, found False"
    ]


def test_a_delivery_of_a_refused_task_is_a_dead_letter_that_says_why(celeriac: Kit) -> None:
    task = celeriac.app.task(name="bad", shared=False)(_work)
    task.delay()
    type(task).refused = "acks_late: the ledger needs late acknowledgement, found False"
    celeriac.drain()
    (dead,) = celeriac.jobs()
    assert dead.state is JobState.FAILED
    assert "needs late acknowledgement" in str(dead.failure_info)


def test_an_annotation_is_judged_as_what_the_task_says_itself(tmp_path: Path) -> None:
    app = an_app("annotated", tmp_path, task_annotations={"early": {"acks_late": False}})
    early = app.task(name="early", shared=False)(_work)
    with pytest.raises(BadArgument, match="late acknowledgement"):
        early.delay()
    with closing(app.database):
        assert app.task(name="late", shared=False)(_work).delay().id


# ---- the command line


def test_celery_finds_an_app_of_another_name_and_its_settings(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "work.py").write_text(
        "from celeriac import Celeriac\napp = Celeriac('shop', task_serializer='pickle')\n"
    )
    env = environment("redis://127.0.0.1:1/0", f"sqlite:///{tmp_path}/ledger.db")
    ended = celery("jobs", "list", env=env, app="shop.work", cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        "celery: the settings have a problem:\n  - task_serializer: found 'pickle'"
    )
