"""The sides, in the order in which they take their turns.

To add one: a file in ``benchmarks/sides`` that defines a ``Side``, and an entry here. With ``packages``
it gets an environment of its own below ``.venv-bench/``, made at the first run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Entry:
    name: str
    title: str
    module: str
    packages: tuple[str, ...] = ()  # for pip; none: it runs in the project's environment
    recorded: str | None = None  # SQL for the number of jobs on record as done; None: it uses no database
    keeps_results: bool = False  # whether a producer can wait for what a job returns
    feeds_children: bool = True  # its worker's main process takes the jobs, as Celery's does
    application_name: str | None = None  # of its connections to PostgreSQL; None: they are not counted
    npm: tuple[str, ...] = ()  # for npm; it runs in the project's environment, and Node beside it
    limits: frozenset[str] = frozenset()  # what it has of limits: loose, ten, paced
    only_limits: bool = False  # whether it runs nothing else


PLAIN = Entry(name="plain-celery", title="plain Celery", module="benchmarks.sides.plain_celery")

CELERIAC = Entry(
    name="celeriac",
    title="Celeriac",
    module="benchmarks.sides.celeriac",
    recorded="SELECT count(*) FROM background_jobs WHERE state = 'completed'",
    keeps_results=True,
    application_name="celeriac",
)

PREFORK = replace(
    CELERIAC,
    name="celeriac-prefork",
    title="Celeriac, -P prefork",
    module="benchmarks.sides.celeriac_prefork",
)

RESULTS = replace(
    CELERIAC, name="celeriac-results", title="Celeriac, results", module="benchmarks.sides.celeriac_results"
)

#: Celery as in the project's environment, so that the versions are those of Celeriac.
_CELERY = ("celery>=5.7,<5.8", "redis>=6.4,<9", "packaging")
_POSTGRES = "psycopg[binary]>=3.3,<3.4"
_DJANGO = (*_CELERY, "django>=5.2,<7", "django-celery-results>=2.6,<3", _POSTGRES)
_DJANGO_RECORDED = "SELECT count(*) FROM django_celery_results_taskresult WHERE status = 'SUCCESS'"

REDIS_RESULTS = Entry(
    name="celery-redis",
    title="Celery, Redis results",
    module="benchmarks.sides.celery_redis",
    keeps_results=True,
)

PGQUEUER = Entry(
    name="pgqueuer",
    title="PgQueuer",
    module="benchmarks.sides.pgqueuer",
    # `pgq run` of 1.6 ends at once with a newer typer: 'str' object has no attribute 'name'
    packages=("pgqueuer[asyncpg,psycopg]>=1.6,<2", "typer<0.20", _POSTGRES),
    feeds_children=False,
    recorded="SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'",
    limits=frozenset({"loose", "ten"}),
)

BULLMQ = Entry(
    name="bullmq",
    title="BullMQ",
    module="benchmarks.sides.bullmq",
    npm=("bullmq@5",),
    feeds_children=False,
    limits=frozenset({"loose", "ten", "paced"}),
    only_limits=True,
)

PEERS = (
    REDIS_RESULTS,
    Entry(
        name="celery-sqlalchemy",
        title="Celery, SQLAlchemy results",
        module="benchmarks.sides.celery_sqlalchemy",
        recorded="SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS'",
        keeps_results=True,
    ),
    Entry(
        name="django-celery-results",
        title="django-celery-results",
        module="benchmarks.sides.django_celery_results",
        packages=_DJANGO,
        recorded=_DJANGO_RECORDED,
        keeps_results=True,
    ),
    Entry(
        name="django-kept",
        title="Django, connections kept",
        module="benchmarks.sides.django_kept",
        packages=_DJANGO,
        recorded=_DJANGO_RECORDED,
        keeps_results=True,
    ),
    Entry(
        name="celery-mirror",
        title="signals and ORM",
        module="benchmarks.sides.celery_mirror",
        recorded="SELECT count(*) FROM task_records WHERE state = 'success'",
    ),
    Entry(
        name="dramatiq",
        title="Dramatiq",
        module="benchmarks.sides.dramatiq",
        packages=("dramatiq[redis]>=2.2,<3",),
        feeds_children=False,
    ),
    Entry(
        name="rq",
        title="RQ",
        module="benchmarks.sides.rq",
        packages=("rq>=3,<4", "redis"),
        feeds_children=False,
    ),
    Entry(
        name="huey",
        title="Huey",
        module="benchmarks.sides.huey",
        packages=("huey>=3.5,<4", "redis"),
        feeds_children=False,
    ),
    Entry(
        name="arq",
        title="arq",
        module="benchmarks.sides.arq",
        packages=("arq>=0.28,<0.29",),
        feeds_children=False,
    ),
    Entry(
        name="saq-redis",
        title="SAQ, Redis",
        module="benchmarks.sides.saq_redis",
        packages=("saq[redis]>=0.26,<0.27", "typing-extensions"),
        feeds_children=False,
    ),
    Entry(
        name="saq-postgres",
        title="SAQ, PostgreSQL",
        module="benchmarks.sides.saq_postgres",
        packages=("saq[postgres]>=0.26,<0.27", "typing-extensions", _POSTGRES),
        feeds_children=False,
        recorded="SELECT count(*) FROM saq_jobs WHERE status = 'complete'",
    ),
    Entry(
        name="chancy",
        title="Chancy",
        module="benchmarks.sides.chancy",
        packages=("chancy[cli]>=0.26,<0.27", _POSTGRES),
        feeds_children=False,
        recorded="SELECT count(*) FROM chancy_jobs WHERE state = 'succeeded'",
    ),
    Entry(
        name="procrastinate",
        title="Procrastinate",
        module="benchmarks.sides.procrastinate",
        packages=("procrastinate>=3.10,<4", _POSTGRES),
        feeds_children=False,
        recorded="SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
    ),
    PGQUEUER,
)

#: Ratios are to the first.
SIDES = (PLAIN, CELERIAC, PREFORK, RESULTS, *PEERS, BULLMQ)
BASELINE = SIDES[0]
DEFAULT = (PLAIN, CELERIAC)  # who runs unless a run names others: all of them take long
