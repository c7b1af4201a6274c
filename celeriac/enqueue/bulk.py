"""Many jobs at a time: one statement and one push for each chunk of them.

``enqueue_many`` takes an iterable of any length; ``enqueue_together`` gathers what a block enqueues,
such as a group or a chord of many members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from celeriac.application import current_app
from celeriac.broker import sending, wire
from celeriac.enqueue import pending
from celeriac.enqueue.pending import CHUNK
from celeriac.enqueue.reused_id import Caller, settle
from celeriac.enqueue.template import Call as Call
from celeriac.enqueue.template import Chunk, Maker, call_of
from celeriac.enqueue.transactions import write_all
from celeriac.errors import BadArgument, EnqueueUncertain, LedgerUnavailable
from celeriac.ledger.connection.database import UNREACHABLE
from celeriac.ledger.writes.acceptance import accept_again, patience
from celeriac.ledger.writes.copy_in import SimilarJobs, copying

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
    chunks = Maker(task, options).chunks(calls, chunk)
    write = _writer(app, session)
    if write is not None:
        return _told(((write(some.jobs()), some.size) for some in chunks), progress)
    with ThreadPoolExecutor(1, "celeriac-bulk") as background:
        return _told(_behind(app, background, chunks), progress)


def _behind(app: Celeriac, background: Executor, chunks: Iterable[Chunk]) -> Iterator[tuple[int, int]]:
    """How many of each chunk are new, and its size; one chunk behind what is made.

    While the next is made here, the database works on this one. What needs this process is done before, or
    the two would wait for each other at every step.
    """
    pending: tuple[Future[int], int] | None = None
    try:
        for some in chunks:
            if pending is not None:
                before, pending = pending, None
                yield before[0].result(), before[1]
            pending = background.submit(_begun(app, some)), some.size
    except Exception:  # of a chunk that cannot be made: the one before it is written, or its own error said
        if pending is not None:
            yield pending[0].result(), pending[1]
        raise
    if pending is not None:
        yield pending[0].result(), pending[1]


def _begun(app: Celeriac, chunk: Chunk) -> Callable[[], int]:
    """Begin to write a chunk; return what ends it, and says how many of it are new."""
    if chunk.similar is None or app.database.dialect != "postgresql":
        return partial(app.amqp.door.write_many, chunk.jobs(), caller=Caller.of(app))
    similar = chunk.similar.unsent() if app.broker_state.resting else chunk.similar
    texts = (
        list(wire.write_similar(similar.model, similar.headers(), similar.rows))
        if similar.model.dispatch_count
        else []
    )
    within = patience((len(payload) for _, payload, _ in similar.rows), app.settings.enqueue_timeout)
    try:
        with ExitStack() as stack:
            connection = stack.enter_context(app.database.transaction(within=within))
            stack.enter_context(copying(connection, similar))
            return partial(_end, app, similar, texts, stack.pop_all(), Caller.of(app))
    except _lost(app) as exc:
        raise LedgerUnavailable(type(exc).__name__) from exc


def _end(
    app: Celeriac, similar: SimilarJobs, texts: Sequence[str], written: ExitStack, caller: Caller
) -> int:
    """Commit, then send the messages."""
    try:
        written.close()
    except app.database.errors.IntegrityError:  # an id that exists: somebody makes ids of his own
        return int(app.amqp.door.write_many(similar.jobs(), caller=caller))
    except _lost(app):
        all_of_it = similar.jobs()
        new = {job.id for job in all_of_it}
        within = app.settings.enqueue_timeout
        accept_again(app.database, all_of_it, new, within=within, settle=partial(settle, caller=caller))
    if texts:
        sending.send_similar(app, similar, texts)
    return len(similar.rows)


def _lost(app: Celeriac) -> tuple[type[Exception], ...]:
    """Errors of a connection that was lost."""
    errors = app.database.errors
    return (*UNREACHABLE, errors.OperationalError, errors.InterfaceError)


def _told(written: Iterable[tuple[int, int]], progress: Callable[[int], object] | None) -> int:
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
    with pending.collecting() as found:
        yield
    platform = current_app(app)
    write = _writer(platform, None) or platform.amqp.door.write_many
    for start in range(0, len(found), chunk):
        write(found[start : start + chunk])


def _writer(app: Celeriac, session: Session | None) -> pending.Writer | None:
    """How a chunk is written in a transaction of the caller's, or collected; None when it is in neither."""
    if session is not None:
        return lambda new: write_all(app, session, new)
    if pending.is_collecting():
        return lambda new: sum(map(pending.collect, new))
    return pending.writer()
