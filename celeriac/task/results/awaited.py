"""Await results in an event loop: one look for all that are awaited there, in a thread, again and again.

A look is one command to the result store and, every two seconds, one statement to the ledger. So a thousand
coroutines that wait need no thread each.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult as CeleryResult

from celeriac.coroutines import in_thread
from celeriac.task.results.ledger_answers import final
from celeriac.task.results.uncommitted import refuse_uncommitted

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Seconds between two looks: a tenth of what the newest caller has waited, within these.
_SHORTEST, _LONGEST, _SHARE = 0.005, 0.25, 0.1
_LEDGER = 2.0  # seconds between two statements to the ledger


class AsyncResult(CeleryResult):
    """Celery's, which can be awaited."""

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> Any:
        """What the job returns: ``get`` for asyncio, in which the event loop goes on meanwhile.

        Args:
            timeout: seconds; None: as long as it takes.
            propagate: whether the job's own exception is raised, or returned as ``get`` does.

        Raises:
            celery.exceptions.TimeoutError: the result has not come within ``timeout``.
            NotImplementedError: ``result_backend`` is disabled.
        """
        if self.ignored:
            return None
        refuse_uncommitted(self.app, [self])
        before = list(self._parents())
        try:
            async with asyncio.timeout(timeout):
                await _first_of(_watch(self.app), [self, *before])
        except TimeoutError:
            raise CeleryTimeout(f"job {self.id} has not ended within {timeout:g} s") from None
        for node in reversed(before):
            if propagate and node._cache:
                node.maybe_throw()
        if propagate:
            self.maybe_throw()
        return self.result


async def _first_of(watch: Watch, chain: list[AsyncResult]) -> None:
    """Return when the first of ``chain`` has its result, or one of the others has failed: it never comes."""
    own, *before = chain
    if not before:
        await watch.result(own)
        return
    pending = {asyncio.ensure_future(watch.result(node)): node for node in before if not node._cache}
    mine = asyncio.ensure_future(watch.result(own))
    try:
        while not mine.done() and not any(node._cache and node.failed() for node in before):
            done, _ = await asyncio.wait({mine, *pending}, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
                pending.pop(one, None)
    finally:
        for one in (mine, *pending):
            one.cancel()
        await asyncio.gather(mine, *pending, return_exceptions=True)


class Watch:
    """Looks for the results that coroutines of one event loop wait for."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._waiting: defaultdict[str, list[asyncio.Future[dict[str, Any]]]] = defaultdict(list)
        self._looking: asyncio.Task[None] | None = None
        self._newest = 0.0

    async def result(self, awaited: AsyncResult) -> None:
        """Return when ``awaited`` knows what its job came to."""
        if awaited._cache:
            return
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[awaited.id].append(future)
        self._newest = time.monotonic()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_again())
        try:
            awaited._maybe_set_cache(await future)
        finally:
            self._waiting[awaited.id].remove(future)
            if not self._waiting[awaited.id]:
                del self._waiting[awaited.id]

    async def _look_again(self) -> None:
        asked = time.monotonic()
        while self._waiting:
            now = time.monotonic()
            await asyncio.sleep(min(max((now - self._newest) * _SHARE, _SHORTEST), _LONGEST))
            if ledger := time.monotonic() - asked >= _LEDGER:
                asked = time.monotonic()
            look = partial(self._app.backend.metas, list(self._waiting), ledger=ledger)
            try:
                metas = await in_thread(self._app, look)
            except Exception as exc:  # whatever it is, those who wait must hear of it
                for future in (each for some in self._waiting.values() for each in some):
                    if not future.done():
                        future.set_exception(exc)
                return
            for meta in filter(final, metas):
                for future in self._waiting.get(meta["task_id"], ()):
                    if not future.done():
                        future.set_result(meta)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Watch]] = WeakKeyDictionary()


def _watch(app: Celeriac) -> Watch:
    """The watch of ``app`` in the event loop that runs."""
    of_loop = _watches.setdefault(asyncio.get_running_loop(), {})
    return of_loop.setdefault(id(app), Watch(app))
