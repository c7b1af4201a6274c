"""The facts about a plain Celery app: its configuration, its tasks, and calls in its source files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celeriac.operate.adoption.source import Uses, scan


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    name: str
    acks_late: bool
    time_limit: float | None
    soft_time_limit: float | None
    serializer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts about an app. They hold no secret: of a URL only the scheme."""

    broker: str  # the scheme of its URL
    results: str | None  # of the result backend; None: none
    tasks: Sequence[TaskFacts] = ()
    queues: Sequence[str] = ()
    routes: Mapping[str, str] = field(default_factory=dict)  # pattern -> queue that is named nowhere else
    serializers: Mapping[str, str] = field(default_factory=dict)  # setting -> serializer
    accepts: Sequence[str] = ("json",)
    visibility_timeout: object = None
    transport_options: Sequence[str] = ()
    time_limit: float | None = None
    reject_on_worker_lost: bool = False
    always_eager: bool = False
    schedule: Sequence[str] = ()
    scheduler: str = "celery.beat:PersistentScheduler"
    uses: Uses = field(default_factory=Uses)


def read(app: Any) -> Facts:
    """Read the facts from the app. Imports its tasks."""
    app.loader.import_default_modules()
    app.finalize()
    conf = app.conf
    options = dict(conf.broker_transport_options or {})
    tasks = [task for name, task in sorted(app.tasks.items()) if not name.startswith("celery.")]
    queues = sorted(app.amqp.queues)
    return Facts(
        # Not conf.broker_url: Celery prefers the variable CELERY_BROKER_URL, which is ours.
        broker=_scheme(conf.first("broker_url", "broker_host")) or "amqp",
        results=_scheme(conf.first("result_backend", "CELERY_RESULT_BACKEND")),
        tasks=[_task(task) for task in tasks],
        queues=queues,
        routes=_routes(conf.task_routes, queues),
        serializers={name: conf[name] for name in ("task_serializer", "result_serializer")},
        accepts=sorted(str(each) for each in conf.accept_content or ()),
        visibility_timeout=options.get("visibility_timeout"),
        transport_options=sorted(set(options) - {"visibility_timeout"}),
        time_limit=conf.task_time_limit,
        reject_on_worker_lost=bool(conf.task_reject_on_worker_lost),
        always_eager=bool(conf.task_always_eager),
        schedule=sorted(conf.beat_schedule or {}),
        scheduler=str(conf.beat_scheduler),
        uses=scan(_files(tasks), below=Path.cwd()),
    )


def _task(task: Any) -> TaskFacts:
    return TaskFacts(
        name=task.name,
        acks_late=bool(task.acks_late),
        time_limit=task.time_limit,
        soft_time_limit=task.soft_time_limit,
        serializer=task.serializer,
    )


def _scheme(url: object) -> str | None:
    """The scheme of a URL. The rest may be secret and is not read."""
    text = str(url or "")
    return (urlsplit(text).scheme or text.partition(":")[0]) or None


def _routes(routes: Any, queues: Sequence[str]) -> dict[str, str]:
    """Patterns that are routed to a queue which ``task_queues`` does not have."""
    found: dict[str, str] = {}
    for each in routes if isinstance(routes, list | tuple) else [routes or {}]:
        for pattern, route in each.items() if isinstance(each, Mapping) else []:
            queue = route.get("queue") if isinstance(route, Mapping) else route
            name = getattr(queue, "name", queue)
            if isinstance(name, str) and name not in queues:
                found[str(pattern)] = name
    return found


def _files(tasks: Sequence[Any]) -> set[Path]:
    """All files of the packages that have tasks: the code that enqueues is often there too."""
    return {file for task in tasks for file in _beside(str(task.__module__))}


def _beside(module: str) -> Iterator[Path]:
    top = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None)
    own = getattr(sys.modules.get(module), "__file__", None)
    if top and Path(top).name == "__init__.py":
        yield from Path(top).parent.rglob("*.py")
    elif own:
        yield Path(own)
