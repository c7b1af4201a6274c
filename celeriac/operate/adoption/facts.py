"""The facts about a plain Celery project: its settings, its tasks, its source, and what stands beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celery.app.defaults import SETTING_KEYS
from celery.worker.request import Request as CeleryRequest
from kombu.utils.imports import symbol_by_name

from celeriac.errors import BadArgument, InvalidSchedule
from celeriac.operate.adoption import routers, surroundings
from celeriac.operate.adoption.routers import Routed
from celeriac.operate.adoption.source import Source, python_files, scan
from celeriac.operate.adoption.surroundings import Surroundings
from celeriac.schedules.static_schedules import request_of_entry
from celeriac.settings.conf import of_the_team
from celeriac.task.registration import base_of_tasks
from celeriac.task.task_classes import request_class

_OURS = "celeriac.worker.pool.request:JobRequest"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    name: str
    limited: bool = True  # whether it has a time limit of its own
    priority: int | None = None
    serializer: str | None = None
    own_class: str | None = None  # None: Celery's
    own_request: str | None = None
    unfit: str | None = None  # why its class cannot be joined with ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts about a project. They hold no secret: of a URL only the scheme.

    Attributes:
        imported: whether the app was imported; else only its source was read.
        settings: those that somebody has set, by name.
        entries: the names of ``beat_schedule``.
        bad_entries: why entries of it cannot be kept.
        routed: what the functions and classes in ``task_routes`` say of the app's tasks.
    """

    imported: bool = True
    broker: str | None = None  # the scheme of its URL; None: not known
    results: str | None = None  # of the result backend; None: none, or not known
    settings: Mapping[str, Any] = field(default_factory=dict)
    tasks: Sequence[TaskFacts] = ()
    entries: Sequence[str] = ()
    bad_entries: Sequence[str] = ()
    routed: Routed = field(default_factory=Routed)
    source: Source = field(default_factory=Source)
    surroundings: Surroundings = field(default_factory=Surroundings)


def read(app: Any) -> Facts:
    """Read the facts from the app. Imports its tasks."""
    app.loader.import_default_modules()
    app.finalize()
    theirs = of_the_team(app.conf)
    tasks = [
        task for name, task in sorted(app.tasks.items()) if not name.startswith(("celery.", "celeriac."))
    ]
    source = scan(_files(tasks), below=Path.cwd())
    entries = dict(app.conf.beat_schedule or {})
    return Facts(
        # Not conf.broker_url: Celery prefers the variable CELERY_BROKER_URL, which is ours.
        broker=_scheme(app.conf.first("broker_url", "broker_host")) or "amqp",
        results=_scheme(app.conf.first("result_backend", "CELERY_RESULT_BACKEND")),
        settings=_Set(theirs),
        tasks=[_task(task) for task in tasks],
        entries=sorted(map(str, entries)),
        bad_entries=list(_bad_entries(entries)),
        routed=routers.ask(app.conf.task_routes, {task.name: task for task in tasks}),
        source=replace(source, settings={}),
        surroundings=surroundings.read(Path.cwd()),
    )


def read_source(tree: Path) -> Facts:
    """Read the facts from the files below ``tree`` alone: nothing is imported."""
    source = scan(python_files(tree), below=tree)
    settings = dict(source.settings)
    return Facts(
        imported=False,
        broker=_scheme(settings.get("broker_url")),
        results=_scheme(settings.get("result_backend")),
        settings=settings,
        source=source,
        surroundings=surroundings.read(tree),
    )


class _Set(Mapping[str, Any]):
    """What the team has set, as a mapping by the names of today, whatever the namespace."""

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs
        written = {str(key).lower() for layer in theirs.maps for key in layer}
        known = {key for key in written if key.startswith("redbeat_")} | SETTING_KEYS
        self._names = [name for name in sorted(known) if name in theirs]

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._theirs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _task(task: Any) -> TaskFacts:
    kind = symbol_by_name(task.Request)
    request = None if kind is CeleryRequest or kind is symbol_by_name(_OURS) else kind
    return TaskFacts(
        name=task.name,
        limited=task.time_limit is not None or task.soft_time_limit is not None,
        priority=task.priority if isinstance(task.priority, int) else None,
        serializer=task.serializer,
        own_class=_own_class(task),
        own_request=None if request is None else str(getattr(request, "__name__", request)),
        unfit=_unfit(task, request),
    )


def _own_class(task: Any) -> str | None:
    """The nearest class below Celery's that somebody wrote; a decorator makes one, too."""
    written = (kind for kind in type(task).__mro__ if "__wrapped__" not in kind.__dict__)
    kind = next(written)
    ours = kind.__module__.startswith(("celery.", "celeriac."))
    return None if ours else f"{kind.__module__}.{kind.__qualname__}"


def _unfit(task: Any, request: Any) -> str | None:
    try:
        base_of_tasks(type(task))
        if request is not None:
            request_class(request, _OURS)
    except BadArgument as exc:
        return str(exc)
    return None


def _bad_entries(entries: Mapping[Any, Any]) -> Iterator[str]:
    for name, entry in entries.items():
        try:
            request_of_entry(str(name), entry)
        except InvalidSchedule as exc:
            yield str(exc)


def _scheme(url: object) -> str | None:
    """The scheme of a URL. The rest may be secret and is not read."""
    text = str((url[0] if url else "") if isinstance(url, list | tuple) else url or "")
    return (urlsplit(text).scheme or text.partition(":")[0]) or None


def _files(tasks: Sequence[Any]) -> set[Path]:
    """All files of the packages that have tasks: the code that enqueues is often there too."""
    return {file for task in tasks for file in _beside(str(task.__module__))}


def _beside(module: str) -> Iterator[Path]:
    top = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None)
    own = getattr(sys.modules.get(module), "__file__", None)
    if top and Path(top).name == "__init__.py":
        yield from python_files(Path(top).parent)
    elif own:
        yield Path(own)
