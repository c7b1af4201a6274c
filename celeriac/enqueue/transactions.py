"""Jobs that exist if and only if the caller's own transaction commits.

``enqueue_in(session)`` writes rows through the caller's SQLAlchemy session; their messages leave
after its commit. ``complete_in(session)`` completes the running job in the transaction of its own
writes, so that its effect in that database happens exactly once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, event

from celeriac.application import current_app
from celeriac.broker import sending
from celeriac.enqueue import arguments
from celeriac.enqueue.capture import Writer, Written, capture_jobs, write_with
from celeriac.enqueue.reused_id import Caller
from celeriac.enqueue.unique.key_rules import key_rules
from celeriac.enqueue.write import settling, to_be_sent
from celeriac.errors import AttemptTaken, BadArgument
from celeriac.headers import STAMP
from celeriac.ids import parse_row_id
from celeriac.ledger.connection.sessions import connection_of, is_session, plain, refuse_no_session
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import LOST
from celeriac.ledger.writes import outcomes
from celeriac.ledger.writes.acceptance import write_on
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.outcomes import Outcome

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, SessionTransaction, scoped_session

    from celeriac.application import Celeriac

_UNSAID: Any = object()

AnySession: TypeAlias = (
    "Session | scoped_session[Session] | AsyncSession | async_scoped_session[AsyncSession]"
)

_UNSENT = "celeriac_unsent"  # session.info: what leaves after the commit


class enqueue_in:
    """Inside the block, jobs are enqueued in the transaction of ``session``.

    With a ``Session`` in a ``with`` block each row is written at its call; with an ``AsyncSession``
    in an ``async with`` block all of them are written when the block ends. Savepoints count. The
    AsyncResult and its id are known at once. Messages leave after the outermost commit; those of a
    session that is bound to a connection, whose commit cannot be seen, a moment later. What was added to
    the session before is flushed, so that it has its keys; what is added in the block has none yet.

    Args:
        session: or a ``scoped_session``, such as Flask-SQLAlchemy's ``db.session``.

    Raises:
        AnotherDatabase: the session speaks to another database than the ledger.
        BadArgument: an ``AsyncSession`` in a plain ``with``, a ``Session`` in an ``async with``, or neither.

    >>> with Session(engine) as session, session.begin():
    ...     session.add(order)
    ...     with enqueue_in(session):
    ...         result = confirm.delay(order.id)
    >>> job(result.id).args == [order_id]
    True
    """

    def __init__(self, session: AnySession, *, app: Celeriac | None = None) -> None:
        self._session: Any = session
        self._app = app
        self._block: AbstractContextManager[Any]
        self._captured: list[NewJob] = []

    def __enter__(self) -> Self:
        session = plain(self._session)
        refuse_no_session(session)
        self._block = write_with(session_writer(current_app(self._app), session))
        session.flush()
        self._block.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._block.__exit__(None, None, None)

    async def __aenter__(self) -> Self:
        self._session = plain(self._session)
        if is_session(self._session):
            raise BadArgument("session", "a Session wants `with enqueue_in(session):`")
        if not hasattr(self._session, "run_sync"):
            refuse_no_session(self._session)
        await self._session.flush()
        self._block = capture_jobs()
        self._captured = self._block.__enter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._block.__exit__(None, None, None)
        if kind is None and self._captured:
            app = current_app(self._app)
            caller = Caller.of(app)  # which another greenlet is not
            await self._session.run_sync(lambda sync: write_in(app, sync, self._captured, caller=caller))


def complete_in(
    session: AnySession | None = None, result: Any = _UNSAID, *, app: Celeriac | None = None
) -> None:
    """Complete the job that is running here in the transaction of ``session``.

    Call it last in the task, then commit. When the commit is lost, so is the completion, and the
    job runs again; when it is done, the job is completed whatever happens to the worker.

    Args:
        session: with Django none is needed inside of ``transaction.atomic()``.
        result: what the ledger keeps as its return value; what the task returns is in the result store alone.

    Raises:
        BadArgument: not inside of a job or of a transaction, or its result is no JSON.
        AttemptTaken: the attempt was taken from this worker: roll back.
        AnotherDatabase: the session speaks to another database than the ledger.

    >>> @shared_task(name="shop.book", bind=True)
    ... def book(self, order_id):
    ...     with Session(engine) as session, session.begin():
    ...         session.add(Booking(order_id=order_id))
    ...         complete_in(session, "booked")
    >>> id = book.delay(7).id
    >>> ended = kit.drain()
    >>> job(id).state, job(id).result
    (<JobState.COMPLETED: 'completed'>, 'booked')
    """
    platform = current_app(app)
    task = platform.current_worker_task
    stamp = task.request.get(STAMP) if task is not None else None
    if not stamp:
        raise BadArgument("complete_in", "there is no running job here")
    if getattr(task, "gathers", False):
        raise BadArgument("complete_in", f"{task.name} runs a batch of jobs, and this would complete one")
    request = task.request
    if request.callbacks or request.chain or request.chord:
        raise BadArgument(
            "complete_in",
            "the job has successors (a chain, callbacks or a chord), which cannot be in this transaction",
        )
    if result is not _UNSAID:
        arguments.check((result,), {})
    connection = _transaction_of(platform, session)
    done = Outcome(
        id=parse_row_id(request.id),
        attempt=stamp["attempt"],
        state=JobState.COMPLETED,
        result=_kept(result, task),
    )
    if not outcomes.record(connection, [done], worker=UUID(stamp["worker"])):
        raise AttemptTaken(request.id, stamp["attempt"])
    request.completed_in = True  # its outcome comes too late by then to carry what it returns


def _transaction_of(app: Celeriac, session: AnySession | None) -> Connection:
    if session is not None:
        return connection_of(plain(session), app.database)
    found = app.framework.connection() if app.framework is not None else None
    if found is None:
        raise BadArgument(
            "session", "wanted a session, or Django's transaction.atomic() on the ledger's database"
        )
    return found


def _kept(result: Any, task: Any) -> str | None:
    if result is not _UNSAID:
        return json.dumps(result)
    given = task.request.__dict__.get("ignore_result")  # the call's word on it, if there is one
    ignored = task.ignore_result if given is None else given
    ignored = ignored or not task.app.settings.keeps_results
    return None if ignored else LOST


def session_writer(app: Celeriac, session: AnySession) -> Writer:
    """What writes rows through a caller's session.

    Raises:
        AnotherDatabase: the session speaks to another database than the ledger.
    """
    own: Session = plain(session)
    connection_of(own, app.database)
    return partial(write_in, app, own)


def write_in(
    app: Celeriac, session: Session, new: Sequence[NewJob], *, caller: Caller | None = None
) -> Written:
    """Write rows through ``session``; their messages leave after its commit.

    Args:
        caller: who enqueues, where that is another thread's.
    """
    session = plain(session)
    new = to_be_sent(app, new)
    if isinstance(session.get_bind(), Connection):
        # Whose transaction may be another's, and last beyond the session's: the dispatcher sees its commit.
        new = [job.unsent() for job in new]
    connection = connection_of(session, app.database)
    written, unsent = write_lent(app, connection, new, caller or Caller.of(app))
    _send_later(app, session, unsent)
    return written


def write_lent(
    app: Celeriac, connection: Connection, new: Sequence[NewJob], caller: Caller
) -> tuple[Written, list[NewJob]]:
    """Write rows in the caller's transaction; what became of them, and what to send after its commit."""
    rules = key_rules(app, caller, lent=True)
    accepted = write_on(connection, new, settling(app, caller), rules)
    return Written(len(accepted.new), accepted.kept), accepted.send


def _send_later(app: Celeriac, session: Session, jobs: Sequence[NewJob]) -> None:
    """Send the messages of ``jobs`` after the commit of ``session``."""
    if _UNSENT not in session.info:
        session.info[_UNSENT] = []
        event.listen(session, "after_commit", lambda done: _send(app, done))
        event.listen(session, "after_transaction_end", _forget)
    session.info[_UNSENT] += jobs


def _send(app: Celeriac, session: Session) -> None:
    if session.in_nested_transaction():
        return  # a savepoint's end, which SQLAlchemy tells in the same way: the rows are not committed yet
    # The last of an id: those before it went with a savepoint, or it would not have been new.
    waiting, session.info[_UNSENT] = list({job.id: job for job in session.info[_UNSENT]}.values()), []
    if not waiting:
        return
    if session.get_bind().dialect.is_async:  # an event loop must not wait for the broker
        threading.Thread(target=sending.send, args=(app, waiting), name="celeriac-send", daemon=True).start()
    else:
        sending.send(app, waiting)


def _forget(session: Session, ended: SessionTransaction) -> None:
    if ended.parent is None:  # of rows that went with a savepoint, the worker drops the messages
        session.info[_UNSENT] = []
