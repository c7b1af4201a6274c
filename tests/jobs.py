"""Tasks for tests: everything that a task can do to a worker, well meant or not.

A worker is given them with ``-I tests.jobs``.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from celery import Task, chain, chord, group, shared_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.worker.request import Request, create_request_cls
from kombu.utils.imports import symbol_by_name
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from celeriac import Batch, BatchedJob, Debounce, Limit, RateLimited, Unique
from celeriac.enqueue.bulk import enqueue_together
from celeriac.enqueue.transactions import complete_in
from tests import effects
from tests.witness import END, START, Witness, mark

# What succeeds


@shared_task(name="tests.noop", ignore_result=True)
def noop() -> None:
    """Nothing."""


@shared_task(name="tests.seldom", rate_limit="15/m")
def seldom() -> None:
    """Nothing, once in four seconds."""


@shared_task(name="tests.add")
def add(x: float, y: float) -> float:
    return x + y


@shared_task(name="tests.total")
def total(numbers: list[float]) -> float:
    """The body of a chord over ``add``."""
    return sum(numbers)


@shared_task(name="tests.echo")
def echo(*args: Any, **kwargs: Any) -> list[Any]:
    """What arrived: ``[args, kwargs]``."""
    return [list(args), kwargs]


@shared_task(name="tests.log_in")
def log_in(user: str, password: str) -> str:
    """A task with a parameter whose value nobody should see."""
    return f"{user}, {len(password)} characters"


@shared_task(name="tests.sleep")
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@shared_task(name="tests.witness", bind=True)
def witness(self: Task[Any, Any], path: str, seconds: float = 0) -> None:
    """Mark the start in ``path``, wait, mark the end."""
    mark(path, self.request.id, self.request.retries, START)
    if seconds:
        time.sleep(seconds)
    mark(path, self.request.id, self.request.retries, END)


@shared_task(name="tests.hold", bind=True)
def hold(self: Task[Any, Any], path: str, value: int = 0, error: str = "") -> int:
    """Mark the start in ``path``, wait for the file that lets it go on, then return ``value`` or fail."""
    mark(path, self.request.id, self.attempt, START)
    while not Path(f"{path}.go").exists():
        time.sleep(0.02)
    if error:
        raise ValueError(error)
    return value


@shared_task(name="tests.spawn")
def spawn(count: int = 1) -> list[str]:
    """Enqueue ``count`` jobs of ``noop``; their ids."""
    return [noop.delay().id for _ in range(count)]


@shared_task(name="tests.spawn_chain")
def spawn_chain() -> str:
    """Enqueue two jobs, one behind the other; the id of the second."""
    return str(chain(add.si(1, 2), add.s(3))().id)


@shared_task(name="tests.big_result")
def big_result(size: int) -> str:
    return "x" * size


@shared_task(name="tests.big_memory")
def big_memory(megabytes: int) -> int:
    """Fill that much memory, page by page; its size in bytes."""
    return len(bytearray(b"\x01") * (megabytes << 20))


@shared_task(name="tests.limited", priority="high", max_tries=2, timeout=1, retry_base=0.05)
def limited(seconds: float) -> float:
    """A task whose decorator sets every option that the platform adds to Celery's."""
    time.sleep(seconds)
    return seconds


# Classes that know nothing of the platform


class FlaskTask(Task):
    """Celery's documented pattern for Flask: ``__call__`` ends in ``run``, inside of a context."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with nullcontext():
            return self.run(*args, **kwargs)


class OwnRequest(Request):
    """Says something, and leaves the rest to Celery."""

    def on_retry(self, exc_info: Any) -> None:
        self.heard = "retry"
        super().on_retry(exc_info)


class WithRequest(Task):
    Request = OwnRequest


@shared_task(name="tests.flask", base=FlaskTask, bind=True, retry_base=0.05)
def flask(self: Task[Any, Any], failures: int) -> int:
    """As ``flaky``."""
    return self.request.retries if self.request.retries >= failures else _refuse()


@shared_task(name="tests.own_request", base=WithRequest, bind=True, retry_base=0.05)
def own_request(self: Task[Any, Any], failures: int) -> int:
    """As ``flaky``."""
    return self.request.retries if self.request.retries >= failures else _refuse()


class Batches(Task):
    """The shape of celery-batches: requests are gathered, and run by one call."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def Strategy(self, task: Any, app: Any, consumer: Any) -> Any:  # noqa: N802  # Celery's name for it
        made = create_request_cls(symbol_by_name(task.Request), task, consumer.pool, "batches", None, app=app)

        def take(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **options: Any) -> None:
            known = {"on_ack": ack, "on_reject": reject, "app": app, "task": task, "hostname": "batches"}
            self.waiting.append(made(message, **known))
            consumer.timer.call_after(0.1, flush)

        def flush() -> None:
            batch, self.waiting = self.waiting, []
            consumer.pool.apply_async(
                sum, ([request.args[0] for request in batch],), callback=lambda _: acknowledge(batch)
            )

        def acknowledge(batch: list[Any]) -> None:
            for request in batch:
                request.acknowledge()

        return take


@shared_task(name="tests.batches", base=Batches)
def batches(number: int) -> None:
    """Runs in batches."""


def _refuse() -> NoReturn:
    raise ConnectionError("an attempt that fails")


# What raises


@shared_task(name="tests.fail")
def fail(message: str = "failed on purpose") -> NoReturn:
    raise ValueError(message)


@shared_task(name="tests.flaky", bind=True, retry_base=0.05)
def flaky(self: Task[Any, Any], failures: int) -> int:
    """Fail that many attempts, then return the number of the attempt that did not, from 0."""
    if self.request.retries < failures:
        raise ConnectionError(f"attempt {self.request.retries} of {failures} that fail")
    return self.request.retries


@shared_task(name="tests.squeezed", bind=True, retry_base=0.05, compression="zlib")
def squeezed(self: Task[Any, Any], value: int, *, step: int = 0) -> int:
    """Its messages are compressed; fail once, and retry twice with ``value + step``."""
    if self.request.retries == 0:
        raise ConnectionError("the first attempt")
    if self.request.retries < 3:
        raise self.retry(args=[value + step], kwargs={"step": step}, countdown=0)
    return value


@shared_task(name="tests.fail_patiently", retry_base=60)
def fail_patiently() -> NoReturn:
    """Fail; the next attempt is two minutes away, as it is by default."""
    raise ValueError("failed on purpose")


@shared_task(name="tests.autoretry", autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,))
def autoretry(error: str) -> NoReturn:
    """Raise the builtin exception of that name; Celery's own options say which is tried again."""
    raise _builtin(error)


@shared_task(
    name="tests.autoretry_once", autoretry_for=(OSError,), retry_kwargs={"max_retries": 1, "countdown": 0}
)
def autoretry_once() -> NoReturn:
    raise OSError("failed on purpose")


@shared_task(
    name="tests.autoretry_backoff",
    autoretry_for=(OSError,),
    retry_backoff=50,
    retry_backoff_max=90,
    retry_jitter=False,
    max_retries=3,
)
def autoretry_backoff() -> NoReturn:
    raise OSError("failed on purpose")


@shared_task(name="tests.no_retry_for", dont_autoretry_for=(LookupError,))
def no_retry_for(error: str) -> NoReturn:
    """Raise the builtin exception of that name; every one is tried again but for a LookupError."""
    raise _builtin(error)


@shared_task(name="tests.leave")
def leave(error: str) -> NoReturn:
    """Raise what is no Exception."""
    raise {"CancelledError": asyncio.CancelledError, "GeneratorExit": GeneratorExit, "Own": OwnBaseException}[
        error
    ]("on purpose")


def _builtin(name: str) -> Exception:
    return {error.__name__: error for error in (KeyError, FileNotFoundError, ConnectionError, ValueError)}[
        name
    ]("failed on purpose")


class OwnBaseException(BaseException):
    pass


@shared_task(name="tests.memory_error")
def memory_error() -> NoReturn:
    raise MemoryError("out of memory on purpose")


@shared_task(name="tests.unpicklable_error")
def unpicklable_error() -> NoReturn:
    raise Unpicklable("holds a file")


@shared_task(name="tests.nasty_error")
def nasty_error() -> NoReturn:
    """Text that PostgreSQL (NUL) and UTF-8 (a lone surrogate) refuse."""
    raise ValueError("nul \x00, lone surrogate \ud800, end")


@shared_task(name="tests.huge_error")
def huge_error(size: int = 10_000_000) -> NoReturn:
    raise ValueError("x" * size)


@shared_task(name="tests.str_raises")
def str_raises() -> NoReturn:
    raise Unprintable


@shared_task(name="tests.unserialisable_result")
def unserialisable_result() -> object:
    return object()


class Unpicklable(Exception):
    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot be pickled, on purpose")


class Unprintable(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("has no text, on purpose")

    __repr__ = __str__


# What ends in another of Celery's ways


@shared_task(name="tests.ignore")
def ignore() -> NoReturn:
    raise Ignore


@shared_task(name="tests.reject", bind=True)
def reject(self: Task[Any, Any], requeue: bool, path: str | None = None) -> str:
    """Reject the message; with a ``path`` only for the first time, or ``requeue`` would never end."""
    if path is not None:
        seen = Witness(path).starts()[self.request.id]
        mark(path, self.request.id, self.request.retries, START)
        if seen:
            return "not rejected again"
    raise Reject("rejected on purpose", requeue=requeue)


@shared_task(name="tests.reject_then_retry", bind=True)
def reject_then_retry(self: Task[Any, Any]) -> NoReturn:
    """Reject the first delivery, and ask for a retry from then on."""
    if self.request.retries == 0:
        raise Reject("rejected on purpose", requeue=True)
    raise self.retry(countdown=0)


@shared_task(name="tests.retry_with", bind=True)
def retry_with(self: Task[Any, Any], value: int, times: int = 1) -> int:
    """Retry at once with ``value + 1``, ``times`` times; the value of the last attempt."""
    if self.request.retries < times:
        raise self.retry(args=[value + 1], kwargs={"times": times}, countdown=0)
    return value


@shared_task(name="tests.retry_in_a_block", bind=True)
def retry_in_a_block(self: Task[Any, Any], value: int) -> int:
    """Retry once with ``value + 1``, from where jobs are gathered."""
    with enqueue_together():
        if self.request.retries == 0:
            raise self.retry(args=[value + 1], countdown=0)
    return value


@shared_task(name="tests.retry_kwargs", bind=True)
def retry_kwargs(self: Task[Any, Any], value: int, *, step: int = 1) -> list[int]:
    """Retry once with the same positional and another keyword argument."""
    if self.request.retries == 0:
        raise self.retry(kwargs={"step": step + 1}, countdown=0)
    return [value, step]


@shared_task(name="tests.retry_in", bind=True)
def retry_in(self: Task[Any, Any], seconds: float) -> int:
    """Retry once, in that many seconds."""
    if self.request.retries == 0:
        raise self.retry(countdown=seconds)
    return self.request.retries


@shared_task(name="tests.retry_up_to", bind=True)
def retry_up_to(self: Task[Any, Any], limit: int) -> NoReturn:
    """Retry until the limit that this very call sets; without an exception of its own."""
    raise self.retry(max_retries=limit, countdown=0)


@shared_task(name="tests.retry_no_throw", bind=True)
def retry_no_throw(self: Task[Any, Any]) -> str:
    """Ask for one retry and go on to return a result."""
    if self.request.retries == 0:
        self.retry(countdown=0, throw=False)
        return "went on after asking for a retry"
    return "the retry"


@shared_task(name="tests.retry_for_ever", bind=True, max_retries=2)
def retry_for_ever(self: Task[Any, Any]) -> NoReturn:
    """Retry until Celery's own limit of two."""
    raise self.retry(exc=ValueError("not yet"), countdown=0)


# What ends the process, or does not end


@shared_task(name="tests.exit")
def exit_(code: int = 0) -> NoReturn:
    sys.exit(code)


@shared_task(name="tests.hard_exit")
def hard_exit(code: int = 1) -> NoReturn:
    """End the process at once, as a crash in a C library would."""
    os._exit(code)


@shared_task(name="tests.kill_self")
def kill_self(number: int) -> None:
    """Send the process that runs this the signal of that number."""
    os.kill(os.getpid(), number)
    time.sleep(10)  # a signal for another thread is not there at once


@shared_task(name="tests.kill_once", bind=True)
def kill_once(self: Task[Any, Any]) -> int:
    """Die in the first attempt; the number of the attempt that did not, from 0."""
    if self.request.retries == 0:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(10)
    return self.request.retries


@shared_task(name="tests.hang", bind=True)
def hang(self: Task[Any, Any], stubborn: bool = False, path: str | None = None) -> NoReturn:
    """Never end; a ``stubborn`` one does not end for the soft time limit either."""
    if path is not None:
        mark(path, self.request.id, self.request.retries, START)
    while True:
        try:
            time.sleep(0.5)
        except SoftTimeLimitExceeded:
            if not stubborn:
                raise


@shared_task(name="tests.hang_once", bind=True)
def hang_once(self: Task[Any, Any], path: str) -> int:
    """Mark the start in ``path``; the first attempt does not end. The number of the one that did, from 0."""
    mark(path, self.request.id, self.request.retries, START)
    if self.request.retries == 0:
        time.sleep(600)
    return self.request.retries


@shared_task(name="tests.exhaust")
def exhaust(megabytes: int = 256) -> NoReturn:
    """Take memory until there is none: this process may have that much more than it has now."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    taken = []
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + (megabytes << 20), limits[1]))
    try:
        while True:
            taken.append(bytearray(1 << 20))
    finally:
        taken.clear()
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


# What writes its effect in the ledger's own database


@shared_task(name="tests.book", bind=True, retry_base=0.05)
def book(self: Task[Any, Any], seconds: float = 0.0, *, then: str = "commit") -> str:
    """Write an effect and complete the job with it; what comes ``then`` decides about both.

    Args:
        then: commit, or rollback in the first attempt.
    """
    with Session(_effects(self.app.settings.database)) as session:
        effects.write(session, self.request.id, self.attempt)
        time.sleep(seconds)
        complete_in(session, "booked", app=self.app)
        if then == "rollback" and self.attempt == 1:
            session.rollback()
            raise ValueError("rolled back on purpose")
        session.commit()
    time.sleep(seconds)  # whoever dies here has done it
    return "booked"


@cache
def _effects(url: Any) -> Engine:
    # Without a pool: a child that is forked later inherits no connection.
    return create_engine(url, poolclass=NullPool)


# What replaces itself, what listens


@shared_task(name="tests.become", bind=True)
def become(self: Task[Any, Any], kind: str) -> NoReturn:
    """Replace itself by a job, a chain, a group or a chord; they come to 6, the group to [1, 2, 3]."""
    parts = group(add.si(number, 0) for number in (1, 2, 3))
    raise self.replace(
        {
            "job": lambda: add.si(2, 4),
            "chain": lambda: chain(add.si(1, 2), add.s(3)),
            "group": lambda: parts,
            "chord": lambda: chord(parts, total.s()),
        }[kind]()
    )


@shared_task(name="tests.become_witness", bind=True)
def become_witness(self: Task[Any, Any], path: str, kind: str, seconds: float = 0.0) -> NoReturn:
    """Wait, then replace itself by marks in ``path``: one job, a chain or a chord, ended by this very id."""
    time.sleep(seconds)
    one = witness.si(path, seconds)
    raise self.replace(
        {
            "job": lambda: one,
            "chain": lambda: chain(one.clone(), one.clone(), one.clone()),
            "chord": lambda: chord([one.clone(), one.clone()], one.clone()),
        }[kind]()
    )


@shared_task(name="tests.grow_chord", bind=True)
def grow_chord(self: Task[Any, Any], value: float) -> float:
    """A member of a chord that adds another one, worth 100."""
    self.add_to_chord(add.si(100, 0))
    return value


@shared_task(name="tests.listen", bind=True)
def listen(self: Task[Any, Any], heard: Any, path: str, name: str = "") -> None:
    """A callback: write into ``path`` that it was called, under ``name`` or its own id."""
    mark(path, name or self.request.id, self.request.retries, START)


@shared_task(name="tests.listen_to_error")
def listen_to_error(request: Any, error: Any, trace: Any, path: str, name: str) -> None:
    """An errback of Celery's newer kind: called with what failed, in the process where it failed."""
    mark(path, name, request.retries, START)


@shared_task(name="tests.batched", max_tries=2, retry_base=0.05, batch=Batch(size=10, wait=1.5))
def batched(given: list[BatchedJob]) -> None:
    """Each job says what is to become of it: done, silent, fail, retry, or what ends the run of all."""
    path = given[0].args[0]
    mark(path, given[0].id, len(given), START)  # in place of the attempt: how many run together
    for one in given:
        word = one.args[1]
        if word == "done":
            one.complete([one.args[2], one.attempt])
        elif word == "fail":
            one.fail(ValueError("on purpose"))
        elif word == "retry" and one.attempt == 1:
            one.retry(countdown=0.1)
    for one in given:
        word = one.args[1]
        if word == "raise" and one.attempt == 1:
            raise ConnectionError("for all that said nothing")
        if word == "kill" and one.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "sleep" and one.attempt == 1:
            time.sleep(600)


@shared_task(name="tests.batched_late", batch=Batch(size=10, wait=8))
def batched_late(given: list[BatchedJob]) -> None:
    """Gathers for eight seconds."""
    mark(given[0].args[0], given[0].id, len(given), START)


@shared_task(
    name="tests.batched_by_key",
    unique=Unique(args=("order",), while_="waiting"),
    limit=Limit("batched", concurrency=2, key="tenant"),
    batch=Batch(size=10, wait=0.5),
)
def batched_by_key(given: list[BatchedJob]) -> None:
    """Marks each job with the number of its run, a tenant's in turn."""
    for one in given:
        mark(one.kwargs["path"], one.kwargs["tenant"], int(given[0].id[-8:], 16), START)
        one.complete(one.kwargs["note"])


@shared_task(name="tests.two_at_once", bind=True, limit=Limit("tests", concurrency=2))
def two_at_once(self: Task[Any, Any], path: str, seconds: float = 0.05) -> None:
    """Marks its start and end; of all workers together two run at once."""
    mark(path, self.request.id, self.attempt, START)
    time.sleep(seconds)
    mark(path, self.request.id, self.attempt, END)


@shared_task(name="tests.sync", bind=True, max_tries=1, unique=Unique(args=("order",)))
def sync(self: Task[Any, Any], path: str, order: int, note: str = "", gate: str = "") -> list[Any]:
    """One job for each order; it ends when there is a file ``gate``."""
    mark(path, self.request.id, self.attempt, START)
    while gate and not Path(gate).exists():
        time.sleep(0.02)
    if note == "fail":
        raise ValueError("on purpose")
    mark(path, self.request.id, self.attempt, END)
    return [order, note]


@shared_task(name="tests.settles", bind=True, debounce=Debounce(1, at_most=3, args=("order",)))
def settles(self: Task[Any, Any], path: str, order: int, note: int) -> int:
    """Begins a second after its last call, and three after the first."""
    mark(path, self.request.id, self.attempt, START)
    return note


@shared_task(
    name="tests.told_to_slow_down", bind=True, max_tries=1, limit=Limit("told", concurrency=1, key="key")
)
def told_to_slow_down(self: Task[Any, Any], path: str, key: str) -> None:
    """Its first attempt is told to slow down, and so is everything of the same key."""
    mark(path, self.request.id, self.attempt, START)
    if self.attempt == 1 and key == "slow":
        raise RateLimited(3)
    mark(path, self.request.id, self.attempt, END)


@shared_task(name="tests.in_order", bind=True, ordered_by="key", retry_base=0.05)
def in_order(self: Task[Any, Any], path: str, key: int, fails: int = 0) -> None:
    """Marks its start and end; its first ``fails`` attempts fail."""
    mark(path, self.request.id, self.attempt, START)
    if self.attempt <= fails:
        raise ValueError("on purpose")
    mark(path, self.request.id, self.attempt, END)


@shared_task(name="tests.paced", bind=True, limit=Limit("paced", rate="20/s", burst=1))
def paced(self: Task[Any, Any], path: str) -> None:
    mark(path, self.request.id, self.attempt, START)


@shared_task(name="tests.hundred_a_second", limit=Limit("hundred", rate="100/s"))
def hundred_a_second() -> None: ...
