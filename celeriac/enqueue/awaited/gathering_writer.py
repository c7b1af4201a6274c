"""One thread for all awaited calls of a process: those that wait at the same time share a transaction.

So a thousand coroutines that enqueue at once need no thread and no connection each, and PostgreSQL makes one
commit durable for many of them. What an ordinary call is promised holds: a call is answered when its row is
committed and its message was sent.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celeriac.enqueue.reused_id import Caller
from celeriac.enqueue.write import write
from celeriac.errors import EnqueueUncertain, LedgerUnavailable
from celeriac.headers import task_id
from celeriac.ledger.writes.new_jobs import NewJob

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_MOST = 100  # jobs of one transaction
_LINGER = 5.0  # seconds without a call after which the thread ends


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    job: NewJob
    caller: Caller
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[None]

    def end(self, error: BaseException | None = None) -> None:
        """Answer it, from any thread. Whoever has stopped waiting, or whose loop has ended, hears nothing."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._answer, error)

    def _answer(self, error: BaseException | None) -> None:
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(None)
        else:
            self.answer.set_exception(error)


class GatheringWriter:
    """Writes the jobs of awaited calls of ``app``. Its thread lives while there are some."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._waiting: list[_Call] = []
        self._arrived = threading.Condition()
        self._at_work = False

    async def write(self, job: NewJob, caller: Caller) -> None:
        """Return when the row of ``job`` is committed and its message was sent.

        Raises:
            BadArgument: its id is used again for something else.
            LedgerUnavailable: the database cannot be reached in time; the job was refused.
            EnqueueUncertain: the database fell silent inside the commit.
        """
        loop = asyncio.get_running_loop()
        call = _Call(job, caller, loop, loop.create_future())
        within = self._app.settings.enqueue_timeout
        too_late = loop.call_later(within, self._refuse, call, within)
        self._take_in(call)
        try:
            await call.answer
        finally:
            too_late.cancel()
            self._forget(call)

    def _take_in(self, call: _Call) -> None:
        with self._arrived:
            self._waiting.append(call)
            if self._at_work:
                self._arrived.notify()
                return
            self._at_work = True
        threading.Thread(target=self._serve, name="celeriac-awaited", daemon=True).start()

    def _refuse(self, call: _Call, within: float) -> None:
        """Refuse a call that still waits, because those before it wait for the database."""
        if self._forget(call):
            call._answer(LedgerUnavailable(f"calls before this one have waited for it for {within:g} s"))

    def _forget(self, call: _Call) -> bool:
        """Write it no more; return whether nobody has begun to."""
        with self._arrived:
            if call in self._waiting:
                self._waiting.remove(call)
                return True
        return False

    def _serve(self) -> None:
        while calls := self._next():
            self._write(calls)

    def _next(self) -> list[_Call]:
        """The calls that are written together: those of one caller that wait. Empty: the thread ends."""
        with self._arrived:
            if not self._waiting:
                self._arrived.wait(_LINGER)
            found = [call for call in self._waiting if call.caller == self._waiting[0].caller][:_MOST]
            taken = set(found)
            self._waiting = [call for call in self._waiting if call not in taken]
            self._at_work = bool(found)
            return found

    def _write(self, calls: Sequence[_Call]) -> None:
        try:
            write(self._app, [call.job for call in calls], caller=calls[0].caller)
        except (LedgerUnavailable, EnqueueUncertain) as exc:
            for call in calls:
                call.end(_as_of(exc, call.job))
        except BaseException as exc:  # whatever it is, somebody waits for it
            if len(calls) == 1:
                calls[0].end(exc)
                return
            for call in calls:  # it may be about one of them, of which none was written: each by itself
                self._write([call])
        else:
            for call in calls:
                call.end()


def _as_of(error: BaseException, job: NewJob) -> BaseException:
    """The same error for one of many jobs."""
    if isinstance(error, EnqueueUncertain):
        return EnqueueUncertain(task_id(job.headers, job.id)).with_traceback(error.__traceback__)
    return copy.copy(error)
