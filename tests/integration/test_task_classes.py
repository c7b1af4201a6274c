"""Tasks on a class of the author's own: made on ``celery.Task``, with a ``__call__``, with a ``Request``."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from celery import Celery, Task
from celery.contrib.abortable import AbortableTask
from celery.worker.request import Request

from celeriac.application import Celeriac
from celeriac.enqueue.bulk import enqueue_many
from celeriac.errors import BadArgument
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import Job
from celeriac.settings.platform import Settings
from celeriac.testing import Kit
from tests.apps import build


@pytest.fixture
def celeriac_app(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Celeriac]:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")  # nothing listens there
    monkeypatch.setenv("CELERIAC_DATA_DIR", str(tmp_path))
    app = build(Settings(task_modules=(), retry_base=1), set_as_current=False)
    yield app
    app.close()


class OnCelery(Task):
    """A base that knows nothing of us."""

    kept: ClassVar[list[str]] = []

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        self.kept.append(f"success {retval}")


class Flask(Task):
    """Celery's documented pattern for Flask: ``__call__`` ends in ``run``, inside of a context."""

    entered: ClassVar[list[str]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.entered.append(self.name)
        return self.run(*args, **kwargs)


class Once(Task):
    """The shape of celery-once: an ``__init__``, a ``__call__`` that ends in ``super()``, hooks."""

    locks: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        self.made_with = self.run.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        assert self.made_with == self.run.__name__
        return super().__call__(*args, **kwargs)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        if not options.get("retries"):
            assert str(args) not in self.locks, "it is queued already"
            self.locks.add(str(args))
        return super().apply_async(args, kwargs, once={"graceful": True}, **options)

    def after_return(self, status: Any, retval: Any, task_id: str, args: Any, *rest: Any) -> None:
        self.locks.discard(str(tuple(args)))


class Singleton(Task):
    """The shape of celery-singleton: while a job waits or runs, the same call is the same job."""

    locks: ClassVar[dict[str, str]] = {}

    def apply_async(self, args: Any = None, kwargs: Any = None, task_id: Any = None, **options: Any) -> Any:
        key = str(list(args or ()))
        if key in self.locks:
            return self.AsyncResult(self.locks[key])
        result = super().apply_async(args, kwargs, task_id=task_id, **options)
        self.locks[key] = result.id
        return result

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        self.locks.pop(str(list(args)))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.locks.pop(str(list(args)))


class Meta(type):
    """A metaclass of the author's own."""


class Slotted(Task, metaclass=Meta):
    __slots__ = ("slot",)


def fails_once(self: Any, value: int) -> int:
    if self.request.retries == 0:
        raise ValueError("the first attempt")
    return value


def fails() -> None:
    raise ZeroDivisionError("on purpose")


def four() -> int:
    return 4


def made(app: Celeriac, base: type, **options: Any) -> Any:
    return app.task(name="tests.made", base=base, bind=True, shared=False, **options)(fails_once)


def drained(kit: Kit) -> Job:
    """The one job, after all its attempts."""
    for _ in range(4):
        kit.drain()
        kit.travel(timedelta(hours=2))
    (found,) = kit.jobs()
    return found


@pytest.mark.parametrize("base", [OnCelery, Flask, Once, Slotted, AbortableTask, Singleton])
def test_a_task_on_a_base_of_its_own_is_retried_and_completed(celeriac: Kit, base: type) -> None:
    task = made(celeriac.app, base, max_tries=2)
    first = task.delay(7)
    job = drained(celeriac)
    assert (job.id, job.state, job.result, job.try_count) == (first.id, JobState.COMPLETED, 7, 2)
    assert isinstance(task, base)
    assert (Once.locks, Singleton.locks) == (set(), {})


def test_a_task_on_a_base_of_its_own_fails_after_its_tries(celeriac: Kit) -> None:
    celeriac.app.task(name="tests.made", base=Flask, shared=False, max_tries=3)(fails).delay()
    Flask.entered.clear()
    job = drained(celeriac)
    assert (job.state, job.try_count, len(Flask.entered)) == (JobState.FAILED, 3, 3)
    assert job.attempts == () or job.failure_info == "error: ZeroDivisionError: on purpose"


def test_celerys_own_retry_options_work_on_a_base_of_its_own(celeriac: Kit) -> None:
    task = made(celeriac.app, Flask, autoretry_for=(ValueError,), retry_backoff=1, max_retries=1)
    task.delay(5)
    assert (drained(celeriac).result, drained(celeriac).max_tries) == (5, 2)


def test_a_call_of_the_authors_own_on_our_class_is_inside_the_attempt(celeriac: Kit) -> None:
    """Celery's older pattern for Flask: the class is a subclass of ``app.Task``."""

    class ContextTask(celeriac.app.Task):  # type: ignore[name-defined, misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.run(*args, **kwargs)

    made(celeriac.app, ContextTask, max_tries=2).delay(3)
    assert (drained(celeriac).state, drained(celeriac).result) == (JobState.COMPLETED, 3)


def test_a_class_that_is_given_to_the_app_is_the_base_of_its_tasks(celeriac: Kit) -> None:
    """Celery's documented pattern for Flask: ``Celery(task_cls=FlaskTask)``."""
    celeriac.app.task_cls = Flask
    celeriac.app.__dict__.pop("Task", None)  # made at its first use
    Flask.entered.clear()
    celeriac.app.task(name="tests.made", bind=True, shared=False, max_tries=2)(fails_once).delay(6)
    assert (drained(celeriac).state, drained(celeriac).result) == (JobState.COMPLETED, 6)
    assert Flask.entered == ["tests.made", "tests.made"]


def test_a_plain_call_of_such_a_task_is_a_plain_call(celeriac: Kit) -> None:
    Flask.entered.clear()
    task = celeriac.app.task(name="tests.plain", base=Flask, shared=False)(four)
    assert (task(), task.apply().get(), Flask.entered) == (4, 4, ["tests.plain", "tests.plain"])


class Registered(OnCelery):
    name = "tests.registered"
    max_tries = 2
    acks_late = True

    def run(self, x: int, *, y: int = 0) -> int:
        return x + y


@pytest.mark.parametrize("given", [Registered, Registered()], ids=["a class", "an instance"])
def test_a_registered_class_is_a_task(celeriac: Kit, given: Any) -> None:
    task = celeriac.app.register_task(given)
    task.delay(1, y=2)
    celeriac.app.enqueue_by_name("tests.registered", (3,), {"y": 4})
    enqueue_many(task, [(5,), (6,)])
    celeriac.drain()
    assert sorted(job.result for job in celeriac.jobs()) == [3, 5, 6, 7]
    assert {job.max_tries for job in celeriac.jobs()} == {2}
    assert OnCelery.kept[-1].startswith("success")


def test_the_old_way_to_register_is_one_as_well(celeriac: Kit) -> None:
    celeriac.app.tasks.register(task := Registered())
    task.bind(celeriac.app)  # as Celery does with all that was registered before it is finalized
    celeriac.app.send_task("tests.registered", (1,))
    assert drained(celeriac).result == 1


def test_the_authors_class_stays_as_it_is(celeriac: Kit) -> None:
    before = dict(vars(OnCelery)), dict(vars(Flask))
    for base in (OnCelery, Flask):
        made(celeriac.app, base, max_retries=1)
        celeriac.app._tasks.pop("tests.made")
    assert (dict(vars(OnCelery)), dict(vars(Flask))) == before
    other = Celery("other", set_as_current=False)
    assert not hasattr(other._task_from_fun(four, name="tests.plain", base=Flask), "default_tries")


def test_a_class_that_another_app_has_bound_is_a_task(celeriac: Kit) -> None:
    class Shared(Registered):
        name = "tests.shared"
        acks_late = None  # type: ignore[assignment]

    Shared().bind(Celery("other", set_as_current=False))
    assert Shared.acks_late is False
    celeriac.app.register_task(Shared())
    celeriac.app.send_task("tests.shared", (1,))
    assert drained(celeriac).result == 1


def test_a_task_on_a_base_of_its_own_is_pickled_by_its_name(celeriac: Kit) -> None:
    task = celeriac.app.register_task(Registered)
    assert pickle.loads(pickle.dumps(task)) is task


class Declares(Task):
    max_retries = 4
    priority = 30


def test_what_such_a_base_declares_is_obeyed(celeriac: Kit) -> None:
    made(celeriac.app, Declares).delay(1)
    (job,) = celeriac.jobs()
    assert (job.max_tries, job.queue, job.priority) == (5, "critical", 30)


def test_the_nearest_declaration_counts(celeriac: Kit) -> None:
    class Nine:
        max_retries = 9

    class Ours(celeriac.app.Task):  # type: ignore[name-defined, misc]
        max_retries = 2

    class Nearer(Ours, Nine):
        """Two: those of Ours."""

    class Farther(Nine, Ours):
        """Nine."""

    tries = [
        celeriac.app.task(name=base.__name__, base=base, shared=False)(four).default_tries
        for base in (Nearer, Farther)
    ]
    assert tries == [3, 10]


def test_a_base_without_late_acknowledgement_is_refused(celeriac: Kit) -> None:
    class Early(Task):
        acks_late = False

    with pytest.raises(BadArgument, match="needs late acknowledgement"):
        made(celeriac.app, Early).delay(1)
    assert Early.acks_late is False, "the class itself is as it was"


class OwnRequest(Request):
    seen: ClassVar[list[str]] = []

    def on_retry(self, exc_info: Any) -> None:
        self.seen.append("retry")
        super().on_retry(exc_info)


class AsksForIt(Task):
    Request = OwnRequest


@pytest.mark.parametrize("given", [OwnRequest, f"{__name__}:OwnRequest"], ids=["a class", "a name"])
def test_the_outcome_is_told_by_a_request_of_its_own(celeriac: Kit, given: Any) -> None:
    OwnRequest.seen.clear()
    made(celeriac.app, AsksForIt, Request=given).delay(2)
    job = drained(celeriac)
    assert (job.state, job.result, OwnRequest.seen) == (JobState.COMPLETED, 2, ["retry"])


def test_a_request_that_is_none_is_refused(celeriac: Kit) -> None:
    task = made(celeriac.app, OnCelery, Request=int)
    task.judge()
    with pytest.raises(BadArgument, match="wanted a subclass of Celery's Request, found <class 'int'>"):
        task.delay(1)


def test_a_shared_task_is_joined_with_ours_in_our_app_alone(celeriac: Kit) -> None:
    other = Celery("other", set_as_current=False)
    for app in (other, celeriac.app):  # what shared_task does in each app
        app._task_from_fun(fails_once, name="tests.shared_by_two", base=Flask, bind=True, max_retries=1)
    celeriac.app.send_task("tests.shared_by_two", (8,))
    assert drained(celeriac).result == 8
    assert not hasattr(other._tasks["tests.shared_by_two"], "default_tries")
