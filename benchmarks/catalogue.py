"""The sides, in the order in which they take their turns.

To add one: a file in ``benchmarks/sides`` that defines a ``Side``, and an entry here. With ``packages``
it gets an environment of its own below ``.venv-bench/``, made at the first run.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Entry:
    name: str
    title: str
    module: str
    packages: tuple[str, ...] = ()  # for pip; none: it runs in the project's environment
    recorded: str | None = None  # SQL for the number of jobs on record as done; None: it uses no database
    application_name: str | None = None  # of its connections to PostgreSQL; None: they are not counted


PLAIN = Entry(name="plain-celery", title="plain Celery", module="benchmarks.sides.plain_celery")

CELERIAC = Entry(
    name="celeriac",
    title="Celeriac",
    module="benchmarks.sides.celeriac",
    recorded="SELECT count(*) FROM background_jobs WHERE state = 'completed'",
    application_name="celeriac",
)

#: Ratios are to the first.
SIDES = (PLAIN, CELERIAC)
BASELINE = SIDES[0]
