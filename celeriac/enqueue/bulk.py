"""Many jobs at a time: one statement and one push for each chunk of them.

``enqueue_many`` takes an iterable of any length; ``enqueue_together`` gathers what a block enqueues,
such as a group or a chord of many members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from celeriac.application import current_app
from celeriac.enqueue import capture
from celeriac.enqueue.copy_write import CopyWrite
from celeriac.enqueue.door import CHUNK
from celeriac.enqueue.reused_id import Caller
from celeriac.enqueue.template import Call as Call
from celeriac.enqueue.template import Chunk, ChunkMaker, call_of
from celeriac.enqueue.transactions import write_in
from celeriac.enqueue.write import write
from celeriac.errors import BadArgument, EnqueueUncertain, LedgerUnavailable
from celeriac.ledger.writes.new_jobs import NewJob

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from celeriac.application import Celeriac


def enqueue_many(
    task: Any,
    calls: Iterable[Call | Sequence[Any] | Mapping[str, Any]],
    *,
    session: Session | None = None,
    chunk: int = CHUNK,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> int:
    """Enqueue a job of ``task`` for each of ``calls``; return how many are new.

    Memory does not grow with their number. The headers of a chunk are made once, with one call of
    ``before_task_publish``.

    Args:
        calls: positional arguments as a list or tuple, keyword arguments as a mapping, or a ``Call``.
        session: rows are written in its transaction, and messages leave after its commit. Otherwise
            each chunk is a transaction of its own: after an error, those before it are enqueued.
        progress: called after each chunk with the number of calls so far.
        options: of ``apply_async``, for all of them.

    Raises:
        BadArgument, PayloadTooLarge, TypeError: with a note that says which call it was.
        LedgerUnavailable: with a note that says how many were enqueued before.
        EnqueueUncertain: the database was lost inside the commit of the next ones.

    >>> enqueue_many(welcome, ([user_id] for user_id in range(3)), priority="low")
    3
    """
    if chunk < 1:
        raise BadArgument("chunk", f"wanted an integer of at least 1, found {chunk!r}")
    for name in ("task_id", "idempotency_key"):
        if options.get(name) is not None:
            raise BadArgument(name, "is of one job; give it to its Call")
    app: Celeriac = task._get_app()
    if app.conf.task_always_eager:
        return sum(1 for call in map(call_of, calls) if task.apply_async(call.args, call.kwargs, **options))
    chunks = ChunkMaker(task, options).chunks(calls, chunk)
    in_transaction = _writer(app, session)
    if in_transaction is not None:
        return _count(((in_transaction(some.jobs()).new, some.size) for some in chunks), progress)
    with ThreadPoolExecutor(1, "celeriac-bulk") as background:
        return _count(_behind(app, background, chunks), progress)


def _behind(app: Celeriac, background: Executor, chunks: Iterable[Chunk]) -> Iterator[tuple[int, int]]:
    """How many of each chunk are new, and its size; one chunk behind what is made.

    While the next is made here, the database works on this one. What needs this process is done before, or
    the two would wait for each other at every step.
    """
    at_work: tuple[Future[int], int] | None = None
    try:
        for some in chunks:
            if at_work is not None:
                before, at_work = at_work, None
                yield before[0].result(), before[1]
            at_work = background.submit(_begin(app, some)), some.size
    except Exception:  # of a chunk that cannot be made: the one before it is written, or its own error said
        if at_work is not None:
            yield at_work[0].result(), at_work[1]
        raise
    if at_work is not None:
        yield at_work[0].result(), at_work[1]


def _begin(app: Celeriac, chunk: Chunk) -> Callable[[], int]:
    """Begin to write a chunk; return what ends it, in the other thread, and says how many of it are new."""
    similar = chunk.similar  # COPY computes no turns
    if similar is None or similar.model.fair or app.database.dialect != "postgresql":
        jobs, caller = chunk.jobs(), Caller.of(app)
        return lambda: write(app, jobs, caller=caller).new
    return CopyWrite.begin(app, similar).finish


def _count(written: Iterable[tuple[int, int]], progress: Callable[[int], object] | None) -> int:
    """Sum up, and tell how far it is."""
    new = seen = 0
    try:
        for fresh, size in written:
            new += fresh
            seen += size
            if progress is not None:
                progress(seen)
    except (LedgerUnavailable, EnqueueUncertain) as exc:
        exc.add_note(f"{seen} calls before it were enqueued")
        raise
    return new


@contextmanager
def enqueue_together(*, app: Celeriac | None = None, chunk: int = CHUNK) -> Iterator[None]:
    """What the block enqueues is written and sent when it ends, in chunks; nothing, if it raises.

    Args:
        chunk: jobs of one transaction and one push.

    Raises:
        LedgerUnavailable: when the block ends; chunks before it are enqueued.
        EnqueueUncertain: when the block ends; the database was lost inside the commit.

    >>> with enqueue_together():
    ...     results = [welcome.delay(7), welcome.delay(8)]
    ...     len(kit.jobs(welcome))
    0
    >>> len(kit.jobs(welcome))
    2
    """
    with capture.capture_jobs() as jobs:
        yield
    platform = current_app(app)
    in_transaction = _writer(platform, None) or partial(write, platform)
    for start in range(0, len(jobs), chunk):
        in_transaction(jobs[start : start + chunk])


def _writer(app: Celeriac, session: Session | None) -> capture.Writer | None:
    """What writes a chunk where a block or a session says so; None where neither does."""
    if session is not None:
        return partial(write_in, app, session)
    captured = capture.captured_jobs()
    if captured is None:
        return capture.writer(app)

    def add(jobs: Sequence[NewJob]) -> capture.Written:
        captured.extend(jobs)
        return capture.Written(len(jobs))

    return add
