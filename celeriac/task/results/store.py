"""Results: Celery's Redis backend, with the ledger behind it.

Redis keeps a result for a day, the row as long as it exists. The ledger answers when Redis has no result. In
a worker nothing here may fail a job whose function has returned.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import states
from celery.backends.redis import RedisBackend
from kombu.utils.json import dumps
from kombu.utils.objects import cached_property
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, ResponseError
from redis.retry import Retry

from celeriac import texts
from celeriac.errors import UnreadableError
from celeriac.events import Event
from celeriac.headers import STAMP
from celeriac.ids import row_id
from celeriac.ledger.upkeep.parked import fail_parked
from celeriac.ledger.writes.outcomes import keep_result
from celeriac.task import failures
from celeriac.task.results.carried import CarriedResult, Carrier
from celeriac.task.results.ledger_answers import UNKNOWN, answers, final
from celeriac.task.results.result_consumer import AWAY, ResultConsumer
from celeriac.task.results.store_rest import Rest
from celeriac.task.results.uncommitted import refuse_uncommitted

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)

_PATIENCE = 0.5  # seconds that the ledger thread waits for data from the result store


#: Stores what is not there as a success, for as many seconds as is said, and publishes it.
_STORE = """
local lifetime = tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  local there, meta, done = redis.call('GET', key), ARGV[i + 1], false
  if there then
    local read, found = pcall(cjson.decode, there)
    done = read and type(found) == 'table' and found['status'] == 'SUCCESS'
  end
  if not done then
    if lifetime > 0 then
      redis.call('SET', key, meta, 'EX', lifetime)
    else
      redis.call('SET', key, meta)
    end
    redis.call('PUBLISH', key, meta)
  end
end
"""


class ResultBackend(RedisBackend):
    ResultConsumer = ResultConsumer

    app: Celeriac
    #: In a child whose main process stores results: takes those that are carried there.
    carrier: Carrier | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # One retry, for a connection that was closed while idle. A store that does not answer gets none.
        self.connparams["retry"] = Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))
        self._rest = Rest()

    def remove_pending_result(self, result: Any) -> Any:
        """As Celery's, which is called when any AsyncResult is collected; nobody asks for most of them."""
        if any(result.id in waiting for waiting in self._pending_results):
            return super().remove_pending_result(result)
        return result

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do nothing: before the row is written, nothing may need Redis. ``.get()`` subscribes."""

    # ---- in a worker

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """As Celery's, or have the result travel with the outcome; see ``carried.py``."""
        if not (store_result and self._carries(task_id, result, request)):
            super().mark_as_done(task_id, result, request, store_result, state)

    def _carries(self, task_id: str, result: Any, request: Any) -> bool:
        carrier = self.carrier
        if carrier is None or isinstance(result, BaseException) or not carrier.wants(task_id, request):
            return False
        meta = self._get_result_meta(None, states.SUCCESS, None, request) | {"task_id": task_id}
        del meta["result"]
        value = self.encode(self.encode_result(result, states.SUCCESS))
        return carrier.take(CarriedResult.of(value, self.encode(meta)))

    def store_carried(self, results: Sequence[tuple[str, CarriedResult]]) -> None:
        """Store results by their task ids, with one request; they are in their rows by now.

        As Celery does it, a result of a success is not overwritten.
        """
        try:
            self._rest.check()
            try:
                keys = [self.get_key_for_task(task_id) for task_id, _ in results]
                self._script(keys, [int(self.expires or 0), *(carried.meta for _, carried in results)])
            except ResponseError:  # this user may be allowed no script
                self._store_each(results)
            self._rest.answered()
        except AWAY as exc:
            self._rest.failed()
            logger.warning(Event.RESULTS_NOT_STORED, {"jobs": len(results), "error": type(exc).__name__})

    @cached_property
    def _script(self) -> Any:
        return self._reader.register_script(_STORE)

    def _store_each(self, results: Sequence[tuple[str, CarriedResult]]) -> None:
        for task_id, carried in results:
            key = self.get_key_for_task(task_id)
            meta = _stored_meta(self.client.get(key))
            if meta is None or not _succeeded(meta):
                self._set(key, carried.meta)

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        """Store a result if that is possible. The outcome in the ledger does not depend on it."""
        if not self._in_worker:
            return super().store_result(task_id, result, state, *args, **kwargs)
        try:
            self._rest.check()
            return super().store_result(task_id, result, state, *args, **kwargs)
        except AWAY as exc:
            self._rest.failed()
            logger.warning(Event.RESULT_NOT_STORED, {"job": task_id, "error": type(exc).__name__})
            if state == states.SUCCESS:
                self._keep(task_id, result, kwargs.get("request"))
        except Exception as exc:  # the encoder calls an author's code: __str__, __reduce__
            if not isinstance(result, BaseException):
                raise  # a return value that is no JSON: an ordinary failure of the job
            failure = failures.failure_of(exc, "")
            stand_in = UnreadableError(failures.type_name(result), failure.exception or "")
            return self._store_stand_in(task_id, stand_in, state, *args, **kwargs)
        return result

    def _keep(self, task_id: str, result: Any, request: Any) -> None:
        """Write a return value into the job's row, when the result store does not take it."""
        stamp, job = request and request.get(STAMP), row_id(task_id)
        if not stamp or job is None:
            return
        text = dumps(self.encode_result(result, states.SUCCESS))
        try:
            with self.app.database.statement() as connection:
                keep_result(connection, job, stamp["attempt"], text, worker=UUID(stamp["worker"]))
        except Exception as exc:  # neither store has it: .get() raises ResultLost
            logger.warning(Event.RESULT_NOT_KEPT, {"job": task_id, "error": type(exc).__name__})

    def _store_stand_in(self, task_id: str, error: Exception, state: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().store_result(task_id, error, state, *args, **kwargs)
        except Exception as exc:  # the job has its outcome; a store that fails must not change it
            logger.warning(Event.FAILURE_NOT_STORED, {"job": task_id, "error": type(exc).__name__})
            return error

    def on_chord_part_return(self, request: Any, state: str, result: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            self._rest.check()
            return super().on_chord_part_return(request, state, result, *args, **kwargs)
        except AWAY as exc:
            self._rest.failed()
            logger.warning(Event.CHORD_PART_LOST, {"job": request.id, "error": type(exc).__name__})

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Set up the chord in Redis, and a parked row for its body: it ends even if Redis loses the chord."""
        super().apply_chord(header_result_args, body, **kwargs)
        if body.get("subtask_type") is None and body.options.get("task_id"):
            group, members = header_result_args
            # The members' group, not the body's own, which may be another or none.
            waits = {"size": len(list(members)), "immutable": bool(body.immutable), "group": str(group)}
            self.app.send_task(body.task, body.args, body.kwargs, celeriac_chord=waits, **body.options)

    def chord_error_from_stack(self, callback: Any, exc: Any = None) -> Any:
        """Fail the body's row when its chord has failed."""
        found = super().chord_error_from_stack(callback, exc)
        body = row_id(callback.options.get("task_id") or getattr(callback, "id", None))
        if body is not None:
            try:
                reason = texts.clean(str(exc), texts.TEXT_LIMIT)
                self.app.database.again(partial(fail_parked, ids=[body], reason=reason))
            except Exception as error:  # the keeper fails the row later
                logger.warning(Event.BODY_NOT_FAILED, {"job": body, "error": type(error).__name__})
        return found

    def ensure(self, fun: Any, args: Any, **policy: Any) -> Any:
        """Retry once. Celery's own retries take twenty seconds, which is too long for callers and workers."""
        return super().ensure(
            fun, args, **{"max_retries": 1, "interval_start": 0.05, "interval_max": 0.05} | policy
        )

    def _set(self, key: Any, value: Any, expires: float | None = None) -> None:
        lifetime = self.expires if expires is None else expires
        with self.client.pipeline() as pipe:
            pipe.set(key, value, ex=int(lifetime) if lifetime else None)
            pipe.publish(key, value)
            pipe.execute()

    def stored_results(self, jobs: Mapping[UUID, str]) -> dict[UUID, str]:
        """The return values of ``jobs``, row and task id, as JSON with one request; lost ones are missing."""
        return {job: json.dumps(meta.get("result")) for job, meta in self._stored(jobs) if _succeeded(meta)}

    def stored_states(self, jobs: Mapping[UUID, str]) -> dict[UUID, str]:
        """Celery's states of ``jobs``, with one request; those that Redis does not have are missing."""
        return {job: str(meta.get("status")) for job, meta in self._stored(jobs)}

    def _stored(self, jobs: Mapping[UUID, str]) -> list[tuple[UUID, dict[str, Any]]]:
        """What is stored of ``jobs``."""
        if self._rest.resting:
            return []
        try:
            found = self._reader.mget([self.get_key_for_task(text) for text in jobs.values()])
            self._rest.answered()
        except AWAY as exc:
            self._rest.failed()
            logger.warning(Event.RESULTS_NOT_COPIED, {"jobs": len(jobs), "error": type(exc).__name__})
            return []
        metas = ((job, _stored_meta(raw)) for job, raw in zip(jobs, found, strict=True))
        return [(job, meta) for job, meta in metas if meta is not None]

    @cached_property
    def _reader(self) -> Any:
        """A client with a short time-out, because all outcomes of a worker wait for its answer."""
        return self._create_client(**self.connparams | {"socket_timeout": _PATIENCE})

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self.result_consumer.stop()
        for name in ("client", "_reader"):
            if name in self.__dict__:
                self.__dict__[name].connection_pool.disconnect()

    @property
    def _in_worker(self) -> bool:
        return (
            self.app.current_worker_task is not None or getattr(self.app, "ledger_thread", None) is not None
        )

    # ---- for callers

    def wait_for_pending(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_uncommitted(self.app, [result])
        return super().wait_for_pending(result, *args, **kwargs)

    def _wait_for_pending(
        self, result: Any, timeout: float | None = None, on_interval: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """As Celery's, and ask what came before for its failure: it may have ended since it was last asked.

        Otherwise chance would choose between a member's own exception and the ``ChordError`` of its body.
        """
        with self.result_consumer.waiting(result):
            yield from super()._wait_for_pending(result, timeout, on_interval, *args, **kwargs)
        if on_interval is not None and result.failed():
            on_interval()

    def iter_native(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_uncommitted(self.app, result.results)
        return super().iter_native(result, *args, **kwargs)

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        try:
            meta: dict[str, Any] = super()._get_task_meta_for(task_id)
        except AWAY:
            meta = {"status": states.PENDING, "result": None}
        if meta["status"] in states.READY_STATES or self._in_worker:
            return meta
        found = answers(self.app, [task_id])
        if not found:
            return meta if meta["status"] != states.PENDING else {"status": UNKNOWN, "result": None}
        in_ledger = found[0]
        known = meta["status"] not in (states.PENDING, states.STARTED)
        return meta if known and not final(in_ledger) else in_ledger

    def metas(self, task_ids: Sequence[str], *, ledger: bool) -> list[dict[str, Any]]:
        """What is known of jobs, with one command; also of the ledger, if wanted, or Redis is away."""
        try:
            found = self.mget([self.get_key_for_task(text) for text in task_ids])
            stored = [self.decode_result(raw) for raw in found if raw]
        except AWAY:
            stored, ledger = [], True
        if not ledger:
            return stored
        ended = {meta["task_id"] for meta in stored if final(meta)}
        missing = [text for text in task_ids if text not in ended]
        return [*stored, *self.preferably_stored([one for one in answers(self.app, missing) if final(one)])]

    def preferably_stored(self, metas: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The result store's metas in place of the ledger's, where it has them.

        The store has the exception itself, a row only its text.
        """
        if not metas:
            return []
        try:
            found = self.mget([self.get_key_for_task(meta["task_id"]) for meta in metas])
            stored = [self.decode_result(raw) if raw else None for raw in found]
        except AWAY:
            return list(metas)
        return [
            theirs if theirs and final(theirs) else ours for ours, theirs in zip(metas, stored, strict=True)
        ]


def _stored_meta(raw: Any) -> dict[str, Any] | None:
    """What a key of a result holds; None when it holds nothing of the kind."""
    try:
        meta = json.loads(raw) if raw else None
    except ValueError:
        return None
    return meta if isinstance(meta, dict) else None


def _succeeded(meta: dict[str, Any]) -> bool:
    return bool(meta.get("status") == states.SUCCESS)
