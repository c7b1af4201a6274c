"""The lean lane: which deliveries need nothing of Celery but its tracer, and which of them the worker holds.

All others take Celery's own way: its message, its strategy and its request, made for each of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any
from uuid import UUID

from celery.app.task import Task as CeleryTask

from celeriac.enqueue import time_limits
from celeriac.headers import ADOPTED, CHORD, DUE, FOLLOWS, PERMITS, PROPERTIES, RETRIED, STAMP, UNIQUE
from celeriac.limits import permits
from celeriac.names import NAME_LENGTH
from celeriac.worker.gate.lean_job import LeanJob

#: Headers that Celery's own objects read, or ours that are made from them.
_NOT_LEAN = frozenset({"compression", ADOPTED, CHORD, DUE, FOLLOWS, PROPERTIES, RETRIED, UNIQUE})

#: What our stamp of a message says that waits for nothing. That of a job with a rate says when it starts.
_STAMP = frozenset({"dispatch", "tag"})

#: What kombu would make other objects of, which is done in Celery's way only.
_TYPED = b'"__type__"'

#: So many lists and objects, which may be nested, are decoded wherever in the program that is done.
_DEEP = 500

#: The request class of a task that has none of its own.
_REQUEST = "celeriac.worker.pool.request:JobRequest"

_LIMITS = time_limits.read(None)
_UNLIMITED = [None, None]

_decode = json.JSONDecoder().decode


class LeanLane:
    """In the event loop; only ``len`` is asked elsewhere.

    Args:
        known: the names of the tasks that this worker knows.
        tasks: the tasks themselves.
        buckets: Celery's, by the names of tasks with a rate limit.
        is_open: whether deliveries may take this lane now.
        receive: takes jobs that are to be claimed.
    """

    def __init__(
        self,
        known: Container[str],
        tasks: Mapping[str, Any],
        *,
        buckets: Mapping[str, Any],
        is_open: Callable[[], bool],
        receive: Callable[[list[LeanJob]], None],
    ) -> None:
        self._known = known
        self._tasks = tasks
        self._buckets = buckets
        self._is_open = is_open
        self._receive = receive
        self._held: set[LeanJob] = set()

    def __len__(self) -> int:
        """How many jobs are in it: from the draw until the outcome is on its way, or Celery has the job."""
        return len(self._held)

    def jobs(self) -> list[LeanJob]:
        return list(self._held)

    def find(self, job: UUID) -> LeanJob | None:
        return next((one for one in self._held if one.job == job), None)

    def leave(self, job: LeanJob) -> None:
        """The job is over, or Celery's own objects stand for it from now on."""
        self._held.discard(job)

    def take(self, items: Sequence[bytes], queue: str, channel: Any) -> list[bytes]:
        """Take what may take this lane; return the other items, in their order."""
        if not self._is_open():
            return list(items)
        jobs, others = [], []
        for item in items:
            job = self._read(item, queue, channel)
            if job is None:
                others.append(item)
            else:
                jobs.append(job)
        if jobs:
            self._held.update(jobs)
            self._receive(jobs)
        return others

    def _read(self, item: bytes, queue: str, channel: Any) -> LeanJob | None:
        """The job of a message that is just as this platform writes it; None of any other."""
        try:
            if _TYPED in item or item.count(b"{") + item.count(b"[") > _DEEP:
                return None
            payload = _decode(item.decode())
            headers, properties = payload["headers"], payload["properties"]
            stamp, task = headers[STAMP], headers["task"]
            special = headers.keys() & _NOT_LEAN or headers.get("stamped_headers") or stamp.keys() - _STAMP
            if special or not self._runs(task):
                return None
            limit = headers.get("timelimit")
            limits = _LIMITS if limit == _UNLIMITED else time_limits.read(limit)
            if type(stamp["dispatch"]) is not int or not _is_as_written(payload, headers, properties):
                return None
            takes = permits.read(headers.get(PERMITS))
            if not takes and PERMITS in headers:
                return None
            job = UUID(headers["id"])
            if str(job) != headers["id"]:
                return None
            return LeanJob(
                item,
                payload,
                queue,
                channel,
                job=job,
                task=task,
                dispatch=stamp["dispatch"],
                tag=stamp.get("tag"),
                limits=limits,
                permits=tuple([permit.name for permit in takes]),
            )
        except Exception:  # anybody can push anything into a queue; Celery's way says what is wrong with it
            return None

    def _runs(self, name: str) -> bool:
        """Whether Celery would do nothing for this task that a child does not do."""
        task = self._tasks[name]
        return (
            name in self._known
            and _named(task.Request) == _REQUEST
            and task.Strategy == CeleryTask.Strategy
            and self._buckets.get(name) is None
        )


def _named(request: Any) -> str:
    """A request class by its name; in a worker a task has the class itself."""
    return request if isinstance(request, str) else f"{request.__module__}:{request.__qualname__}"


def _is_as_written(payload: Any, headers: Any, properties: Any) -> bool:
    texts = payload["body"], payload["content-type"], payload["content-encoding"], headers["id"]
    shown = headers.get("shadow"), headers.get("argsrepr"), headers.get("kwargsrepr")
    return (
        all(type(text) is str for text in texts)
        and all(text is None or type(text) is str for text in shown)
        and properties["body_encoding"] == "base64"
        and type(properties["delivery_tag"]) is str
        and len(headers["task"]) <= NAME_LENGTH
    )
