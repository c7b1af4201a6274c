"""What the console costs on a large ledger: each page's first byte, an open page, ten people who look."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median

from benchmarks import filled_ledger
from benchmarks.drain_time import drained
from benchmarks.errors import NotMeasured
from benchmarks.figures import Figures, Measure, quantile
from benchmarks.open_pages import Console, console, readers
from benchmarks.process_usage import ports, processor_time, resident
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.workload import Workload
from benchmarks.workloads.listing import fill
from celeriac.operate.dead_letters import Cause

_TOO_MANY = 503  # the status of a page that says that it takes too long
_CALLS = 20  # of each page; the first is not counted
_OPEN = 40.0  # seconds that a page is open
_DRAINS = 7  # pairs of one beside readers and one without, in turn
_DRAINED = 30_000  # jobs of one drain
_BEFORE = 20.0  # seconds for which pages are open before the jobs come
_WAITING = 0.1  # share of waiting jobs
_REFRESHES = 1_800  # reads of an open page in an hour

#: Every page, and every filter of the page of jobs.
PAGES: Mapping[str, str] = {
    "overview": "/",
    "jobs": "/jobs",
    "jobs-failed": "/jobs?state=failed",
    "jobs-running": "/jobs?state=running",
    "jobs-task": "/jobs?task=task.3",
    "jobs-task-rare": "/jobs?task=task.rare",
    "jobs-task-error": "/jobs?task=task.3&state=error",
    "jobs-queue": "/jobs?queue=low",
    "jobs-queue-rare": "/jobs?queue=critical",
    "jobs-user": "/jobs?user=user-10",
    "jobs-schedule": "/jobs?schedule=nightly",
    "jobs-error": "/jobs?error=is+away",
    "jobs-worker": "/jobs?worker=celery@host-3",
    "jobs-worker-rare": "/jobs?worker=rare@host",
    "jobs-version": "/jobs?version=v2",
    "jobs-version-rare": "/jobs?version=rare",
    "jobs-since": "/jobs?since=1h",
    "jobs-until": "/jobs?until=6d",
    "jobs-id": "/jobs?id-prefix=019",
    "jobs-none": "/jobs?error=nothing+says+so",
    "jobs-argument": "/jobs?argument=order-77&since=10m",
    "jobs-user-queue": "/jobs?user=user-20&queue=critical",
    "jobs-oldest": "/jobs?sort=oldest",
    "jobs-due": "/jobs?sort=due",
    "jobs-longest": "/jobs?sort=longest",
    "jobs-failed-oldest": "/jobs?state=failed&sort=oldest",
    "jobs-finished": "/jobs?sort=finished&finished-since=2h&finished-until=1h",
    "dead": "/dead",
    "queues": "/queues",
    "queue": "/queues/normal",
    "limits": "/limits",
    "schedules": "/schedules",
    "schedule": "/schedules/nightly",
    "workers": "/workers",
    "tasks": "/tasks",
    "task": "/tasks/task.3",
    "doctor": "/doctor",
    "audit": "/audit",
    "audit-who": "/audit?who=operator+7",
    "audit-action": "/audit?action=replay",
    "audit-since": "/audit?since=1h",
    "series-1h": "/stats/series?range=1h",
    "series-24h": "/stats/series?range=24h&task=task.3",
    "series-90d": "/stats/series?range=90d",
    "spread-1h": "/stats/spread?of=wait&range=1h&queue=normal",
    "spread-90d": "/stats/spread?of=run&range=90d&task=task.3",
}

#: Pages of something that is known when the ledger is filled.
_OF_ONE = ("job", "job-waiting", "group")

#: What ten people have open; and what the chart of each overview asks for as often.
_LOOKING = (
    *("/", "/", "/", "/jobs", "/jobs?state=failed", "/jobs?state=running"),
    *("/dead", "/queues", "/workers", "/tasks"),
    *("/stats/series?range=1h",) * 3,
)

#: Of which the cost to the database is measured: the page, and what its script asks for as often.
_OPENED = {
    "overview": ("/", "/stats/series?range=1h"),
    "jobs": ("/jobs",),
    "queues": ("/queues",),
    "task": (
        *("/tasks/task.3", "/stats/series?range=24h&task=task.3"),
        *(f"/stats/spread?of={of}&range=24h&task=task.3" for of in ("wait", "run")),
    ),
    "dead": ("/dead",),
}

_ASIDE = (
    "UPDATE background_jobs SET queue = 'low'"
    " WHERE state IN ('pending', 'error', 'running') AND job_type <> 'benchmarks.noop'"
)
_CONNECTIONS = "SELECT pid, client_port FROM pg_stat_activity WHERE datname = current_database()"
_ACTIVE = "SELECT active_time FROM pg_stat_database WHERE datname = current_database()"

#: What a keeper counted in ninety days: of twelve tasks in three queues, each minute of two days, each hour.
_COUNTED = """
    INSERT INTO background_ended_counts (span, began, task, queue, outcome, attempts, ran, longest,
        wait_3, wait_7, run_2, run_5)
    SELECT span, date_bin(span * interval '1 s', now(), to_timestamp(0)) - n * span * interval '1 s',
        'task.' || t, queue, outcome, span, span, 2, span / 2, span / 2, span / 3, span / 3 * 2
    FROM (SELECT 60 AS span, generate_series(3, 2880) AS n
            UNION ALL SELECT 3600, generate_series(1, 2160)) AS spans,
        generate_series(0, 11) AS t, unnest(array['low', 'normal', 'critical']) AS queue,
        unnest(array['completed', 'failed', 'retried']) AS outcome
    ON CONFLICT DO NOTHING
"""

#: What forty operators did in ninety days.
_ACTIONS = """
    INSERT INTO background_actions (id, began, touched, ended, who, via, action, subject, done)
    SELECT gen_random_uuid(), at, at, at, 'operator ' || n % 40, 'console', 'replay', 'group ' || n, 7
    FROM (SELECT n, now() - n * interval '1 min' AS at FROM generate_series(1, 100000) AS n) AS made
"""
#: The schedule whose jobs the ledger has.
_SCHEDULE = """
    INSERT INTO background_schedules (name, task, args, kwargs, options, kind, expression, timezone, catch_up,
        catch_up_limit, overlap, jitter, static, created, changed, enabled, anchor, next_run)
    VALUES ('nightly', 'task.0', '[]', '{}', '{}', 'interval', '600', 'UTC', 'once',
        100, 'allow', 0, false, now(), now(), true, now(), now() + interval '1 day')
"""
#: What the server would do by itself while the drains are timed, after all that the fill has written.
_VACUUM = ("VACUUM ANALYZE background_jobs", "VACUUM ANALYZE background_attempts")

_ANALYZE = "VACUUM ANALYZE background_ended_counts, background_actions"
_ONE = "SELECT id FROM background_jobs WHERE state = 'failed' ORDER BY queued DESC LIMIT 1"
_WAITS = "SELECT id FROM background_jobs WHERE state = 'pending' ORDER BY queued DESC LIMIT 1"


def measure(trial: Trial, jobs: int) -> Figures:
    """One ledger with ``jobs`` rows of seven days and a tenth as many waiting ones."""
    _drained(trial, 200)  # whose rows are what the waiting ones are copies of
    with filled_ledger.without_indexes(trial.database):
        fill(trial, jobs)
        trial.database.execute(_ASIDE)  # no worker of this trial knows their tasks
        filled_ledger.waiting(trial, int(jobs * _WAITING))
    for statement in (_COUNTED, _ACTIONS, _SCHEDULE, _ANALYZE):
        trial.database.execute(statement.encode())
    key = Cause(task="task.0", exception_type="OSError", frame="net.py:f10").key
    ones = (_job(trial, _ONE), _job(trial, _WAITS), f"/dead/{key}")
    with console(trial) as served:
        figures = _pages(served, {**PAGES, **dict(zip(_OF_ONE, ones, strict=True))})
        figures |= _open_page(trial, served)
        figures |= _looked_at(trial, served)
        figures |= _memory(served)
    return figures


def _job(trial: Trial, query: str) -> str:
    """The address of the page of the job that ``query`` finds."""
    row = trial.database.execute(query.encode()).fetchone()
    if row is None:
        raise NotMeasured("the ledger has no job of that kind: it is too small")
    return f"/jobs/{row[0]}"


def _pages(served: Console, pages: Mapping[str, str]) -> Figures:
    """The 95th percentile of each page's first byte, in milliseconds, and the heaviest page."""
    figures: Figures = {}
    heaviest = told = 0
    for name, path in pages.items():
        answers = [served.get(path) for _ in range(1 + _CALLS)]
        told += any(answer.status == _TOO_MANY for answer in answers)
        wrong = {answer.status for answer in answers} - {200, _TOO_MANY}
        if wrong:
            raise NotMeasured(f"{path} answers {sorted(wrong)}")
        figures[name] = quantile([answer.first_byte * 1e3 for answer in answers[1:]], 0.95)
        heaviest = max(heaviest, *(len(answer.body) for answer in answers))
    return {**figures, "slowest": max(figures.values()), "heaviest": heaviest / 1e3, "told": told}


def _open_page(trial: Trial, served: Console) -> Figures:
    """Milliseconds of the database's time that one open page costs in a second, less what it costs anyway."""
    spent = []
    for pages in ((), *_OPENED.values()):
        before, begin = _active(trial), time.monotonic()
        with readers(served, pages):
            time.sleep(_OPEN)
        spent.append((_active(trial) - before) / (time.monotonic() - begin))
    idle, *opened = spent
    return {f"open-{name}": max(0.0, cost - idle) for name, cost in zip(_OPENED, opened, strict=True)}


def _active(trial: Trial) -> float:
    time.sleep(1.5)  # after which a backend has told what it did
    row = trial.database.execute(_ACTIVE).fetchone()
    return float(row[0]) if row else 0.0


def _looked_at(trial: Trial, served: Console) -> Figures:
    """The rate of a drain that ten people look at, as a share of one that nobody looks at.

    And what looking takes of a core: of the console, of its connections in the database, of who reads.
    """
    for statement in _VACUUM:
        trial.database.execute(statement.encode())
    kept, failed = [], 0
    spent: dict[str, list[float]] = {"console": [], "database": [], "readers": []}
    for number in range(_DRAINS):
        rates = {}
        for looked_at in (number % 2 == 0, number % 2 == 1):  # each is first as often as the other
            opened = time.monotonic()
            with readers(served, _LOOKING if looked_at else ()) as counted:
                time.sleep(_BEFORE)  # the console looks first at what costs most
                before, began = _used(trial, served), time.monotonic()
                rates[looked_at] = _drained(trial, _DRAINED)
                after, ended = _used(trial, served), time.monotonic()
            failed += counted.failed
            if looked_at:
                for part, used in after.items():
                    spent[part].append((used - before[part]) / (ended - began))
                spent["readers"].append(counted.spent / (time.monotonic() - opened))
        kept.append(rates[True] / rates[False])
    parts = {f"spent-{part}": median(shares) * 1e3 for part, shares in spent.items()}
    return {"kept": median(kept), "least": min(kept), "most": max(kept), "unread": failed, **parts}


def _used(trial: Trial, served: Console) -> dict[str, float]:
    """Seconds of a core that the console and its connections have used."""
    pid = served.process.pid
    mine = ports(pid)
    rows = trial.database.execute(_CONNECTIONS).fetchall()
    connections = sum(processor_time(connection) for connection, port in rows if port in mine)
    return {"console": processor_time(pid), "database": connections}


def _drained(trial: Trial, jobs: int) -> float:
    known = trial.witness.done()
    recorded = filled_ledger.done(trial, known + jobs)
    trial.enqueue(jobs)
    filled_ledger.settle(trial)
    with trial.worker(words=("-Q", "normal")) as worker:
        return drained(trial, jobs, worker=worker, before=known, recorded=recorded).rate


def _memory(served: Console) -> Figures:
    """How much larger the process is after as many reads as a page that is open for an hour makes."""
    for _ in range(200):
        served.get("/")
    before = resident(served.process.pid)
    for _ in range(_REFRESHES):
        served.get("/")
    return {"grown": resident(served.process.pid) - before}


def _plain(key: str, label: str, *, digits: int = 1) -> Measure:
    return Measure(key=key, label=label, digits=digits, compared=False)


CONSOLE = Workload(
    name="console",
    title="the console on a ledger of so many rows, and a tenth as many waiting ones",
    jobs=1_000_000,
    quick_jobs=2_000,
    large_jobs=10_000_000,
    repeat=1,
    quick=False,
    usual=False,
    measures=(
        _plain("slowest", "ms to the first byte, p95, the slowest page"),
        _plain("heaviest", "kB, the heaviest page"),
        _plain("told", "pages that said that it takes too long, in place of what was asked", digits=0),
        *(_plain(f"open-{name}", f"ms of the database a second, {name} open") for name in _OPENED),
        _plain("kept", "rate ÷ of a drain that nobody looks at, ten people look", digits=3),
        _plain("least", f"the least of {_DRAINS}", digits=3),
        _plain("most", f"the most of {_DRAINS}", digits=3),
        _plain("unread", "pages that could not be read meanwhile"),
        _plain("spent-console", "ms of a core a second of the console meanwhile"),
        _plain("spent-database", "ms of a core a second of its connections"),
        _plain("spent-readers", "ms of a core a second of the ten people's stand-ins"),
        _plain("grown", "MiB that the process has grown by in an hour's reads"),
        *(_plain(name, f"ms to the first byte, p95, {name}") for name in (*PAGES, *_OF_ONE)),
    ),
    measure=measure,
    applies=lambda entry: entry == CELERIAC,  # whose table is filled
)
