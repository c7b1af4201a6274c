"""A private ledger in place of an app's own, for as long as a test takes.

Rows are written by the door, as ever. There is no broker: what is due is drained in process, by the
same rules and with the same code as in a worker.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import make_url

from celeriac.broker_state import BrokerState
from celeriac.errors import BadArgument
from celeriac.ledger.connection import test_clock
from celeriac.ledger.connection.database import Database
from celeriac.ledger.migrate import upgrade
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.job import Job, jobs
from celeriac.testing.backend import MemoryBackend
from celeriac.testing.drain import Drain

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_MOST = 1_000


class NoBroker(BrokerState):
    """It is never to be bothered."""

    resting = resting_for_duties = True


class Kit:
    """What the fixture ``celeriac`` gives: a private ledger in place of the app's own, in a ``with`` block.

    Args:
        path: of an empty ledger; see ``new_ledger``. None, in a Django project: the ledger stays in the
            database that Django has made for the tests.

    Raises:
        BadArgument: there is no path, and Django has made no such database.

    >>> with Kit(app, new_ledger(folder / "another.db")) as another:
    ...     result = welcome.delay(7)
    ...     another.drain()
    [<Job 0... mail.welcome completed, 1 of 1 tries>]
    >>> kit.jobs()
    []
    """

    def __init__(self, app: Celeriac, path: Path | None = None) -> None:
        self.app = app
        self._is_private = path is not None
        _ = app.settings  # with which a web framework is found
        if path is None and not (app.framework is not None and app.framework.tests):
            raise BadArgument("path", "wanted that of an empty ledger, or a test with Django's test database")
        self.database = app.database if path is None else Database(make_url(f"sqlite:///{path}"))

    def __enter__(self) -> Self:
        app = self.app
        self._own = app.database, app.broker_state
        app.database, app.broker_state = self.database, NoBroker()
        self._store_results_in(MemoryBackend(app=app) if app.settings.keeps_results else None)
        app.set_current()
        return self

    def __exit__(self, *_: object) -> None:
        self.app.database, self.app.broker_state = self._own
        self._store_results_in(None)
        if self._is_private:
            self.database.close()

    def _store_results_in(self, backend: MemoryBackend | None) -> None:
        self.app.private_backend = backend
        for task in self.app.tasks.values():
            task.__trace__ = None  # Celery's tracer of a task keeps the backend that it was made with

    def jobs(self, task: Any = None, *, state: JobState | str | None = None) -> list[Job]:
        """The jobs that were enqueued, the oldest first.

        Args:
            task: a task or its name; of every task when it is None.

        Raises:
            BadArgument: there is no such ``state``.

        >>> result = welcome.delay(7)
        >>> kit.jobs(welcome, state="pending")
        [<Job 0... mail.welcome pending, 0 of 1 tries>]
        """
        return jobs(state=state, task=_name(task), limit=_MOST, app=self.app)[::-1]

    def assert_enqueued(self, task: Any, *args: Any, **kwargs: Any) -> Job:
        """The one job of ``task`` that was enqueued with just these arguments.

        Raises:
            AssertionError: there is none, or more than one; it lists what was enqueued.

        >>> result = welcome.delay(7)
        >>> kit.assert_enqueued(welcome, 7).id == result.id
        True
        """
        same = [job for job in self.jobs(task) if _arguments(job) == _as_json(args, kwargs)]
        if len(same) == 1:
            return same[0]
        wanted = _call(_name(task), args, kwargs)
        found = _lines(self.jobs()) or "  nothing"
        raise AssertionError(f"wanted one {wanted}, found {len(same)}; what was enqueued:\n{found}")

    def assert_nothing_enqueued(self, task: Any = None) -> None:
        """Assert that no job was enqueued.

        Args:
            task: a task or its name; of every task when it is None.

        Raises:
            AssertionError: one was; it lists what was enqueued.

        >>> kit.assert_nothing_enqueued(welcome)
        """
        if lines := [_call(job.task, job.args or (), job.kwargs or {}) for job in self.jobs(task)]:
            raise AssertionError(
                "wanted nothing to be enqueued, found:\n" + "\n".join(f"  {x}" for x in lines)
            )

    def drain(self, *, limit: int = _MOST) -> list[Job]:
        """Run what is due, and what that makes due, the most important first; return what has ended.

        Args:
            limit: attempts; a task that enqueues itself for ever ends the test instead of going on.

        Raises:
            RuntimeError: more than ``limit`` attempts were made.

        >>> result = welcome.delay(7)
        >>> kit.drain()
        [<Job 0... mail.welcome completed, 1 of 1 tries>]
        """
        ended = Drain(self.app).run(limit=limit)
        return [job for job in self.jobs() if job.id in ended and job.is_terminal]

    def travel(self, span: timedelta) -> None:
        """Let ``span`` pass for all that waits: delays, retries and expiries come as much nearer.

        >>> result = welcome.apply_async((7,), countdown=3600)
        >>> kit.travel(timedelta(hours=1))
        >>> kit.drain()
        [<Job 0... mail.welcome completed, 1 of 1 tries>]
        """
        with self.database.transaction() as connection:
            test_clock.travel(connection, span)


def new_ledger(path: Path) -> Path:
    """Make an empty ledger at ``path`` and return the path: one SQLite file, to be copied for each test.

    >>> new_ledger(folder / "template.db").name
    'template.db'
    """
    upgrade(make_url(f"sqlite:///{path}"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def _name(task: Any) -> str | None:
    return task if task is None or isinstance(task, str) else str(task.name)


def _as_json(args: Sequence[Any], kwargs: Any) -> Any:
    from kombu.utils.json import dumps, loads

    return loads(dumps([list(args), dict(kwargs)]))


def _arguments(job: Job) -> Any:
    return [list(job.args or ()), dict(job.kwargs or {})]


def _lines(found: Sequence[Job]) -> str:
    return "\n".join(f"  {_call(job.task, job.args or (), job.kwargs or {})}" for job in found)


def _call(name: str | None, args: Sequence[Any], kwargs: Any) -> str:
    words = [*(_word(value) for value in args), *(f"{key}={_word(value)}" for key, value in kwargs.items())]
    return f"{name}({', '.join(words)})"


def _word(value: Any) -> str:
    try:
        return json.dumps(value)
    except TypeError:
        return repr(value)
