"""What limits cost, whether they are used and kept, and what very many held jobs cost."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext

from benchmarks import held_jobs
from benchmarks.drain_time import drained
from benchmarks.errors import NotMeasured
from benchmarks.figures import Figures, Measure, quantile
from benchmarks.limit_sizes import PACE, SECONDS, TEN, VARIABLE
from benchmarks.looks import looks_at
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.trial_servers import Scale
from benchmarks.workload import Workload
from benchmarks.workloads import limits_of_others
from benchmarks.workloads.limits_of_others import FROZEN, MINUTE, WORKERS, most_and_first

_HELD = {Scale.QUICK: (10_000, 100), Scale.USUAL: (1_000_000, 10_000)}  # jobs that wait, and their keys
_ROUNDS = {Scale.QUICK: 10, Scale.USUAL: 100}  # of admissions
_START = 20.0  # seconds that the start of each may take, at most

_IN_USE = """
    SELECT count(*) FROM background_jobs
    WHERE permit_1 = 'ten:' AND dispatched IS NOT NULL AND finished IS NULL
"""
_ENDS = """
    SELECT extract(epoch FROM {})::float FROM background_jobs
    WHERE permit_1 = 'ten:' AND queued >= %s ORDER BY 1
"""
_STARTS = """
    SELECT extract(epoch FROM started)::float FROM background_jobs
    WHERE permit_1 = 'paced:' AND started IS NOT NULL ORDER BY 1
"""
_ATTEMPTS = "SELECT sum(try_count)::int FROM background_jobs WHERE permit_1 = 'paced:'"


def limits(trial: Trial, jobs: int) -> Figures:
    """Drains without and with limits; a limit that binds; a fair queue; a rate; held jobs, three times."""
    if trial.entry != CELERIAC:
        return limits_of_others.measured(trial, jobs)
    figures = _drains(trial, jobs)
    figures |= _binding(trial, jobs, "")
    with held_jobs.open_transaction(trial):
        figures |= _binding(trial, jobs, "_open")
    figures |= _fair(trial, jobs, figures["plain"])
    figures |= _rate(trial)  # it leaves jobs that no other part may run
    return figures | _held(trial)


def _drains(trial: Trial, jobs: int) -> Figures:
    """No-op jobs: no limit anywhere; limits of other jobs; a limit that does not bind."""
    rates = {}
    for name in ("plain", "beside", "loose"):
        known = trial.witness.done()
        if name == "beside":
            trial.environment[VARIABLE] = "1"
        if name == "loose":
            trial.ask("limited", "loose", jobs)
        else:
            trial.ask("many", jobs)
        with trial.worker() as worker:
            rates[name] = drained(trial, jobs, worker=worker, before=known).rate
    shares = {f"{name}_share": rates[name] / rates["plain"] for name in ("beside", "loose")}
    return {**rates, **shares}


def _binding(trial: Trial, jobs: int, suffix: str) -> Figures:
    """A limit of ten on twenty children: how much of it is in use, how late a permit is given on."""
    known, began = trial.witness.done(), trial.database.execute("SELECT clock_timestamp()").fetchone()
    trial.ask("limited", "ten", jobs)
    with trial.worker(pool="threads", concurrency=2 * TEN) as worker, looks_at(trial.stage, _IN_USE) as used:
        rate = drained(trial, jobs, worker=worker, before=known).rate
    ended = [row[0] for row in trial.database.execute(_ENDS.format("finished").encode(), began).fetchall()]
    sent = [row[0] for row in trial.database.execute(_ENDS.format("dispatched").encode(), began).fetchall()]
    late = [max(0.0, to - end) * 1e3 for end, to in zip(ended, sent[TEN:], strict=False)]
    in_use = [count for count in used if count]
    return {
        f"ten_rate{suffix}": rate,
        f"ten_done{suffix}": 100 * rate * SECONDS / TEN,
        f"ten_used{suffix}": 100 * sum(in_use) / max(1, len(in_use)) / TEN,
        f"ten_most{suffix}": float(max(in_use, default=0)),
        f"ten_late{suffix}": quantile(late, 0.99),
    }


def _rate(trial: Trial) -> Figures:
    """A rate over four warm workers, one of which is frozen for a while: most and first of its starts."""
    span, known = trial.stage.scale.of(MINUTE), trial.witness.done()
    with ExitStack() as stack:
        words = [("-n", f"w{number}@%h") for number in range(WORKERS)]
        workers = [
            stack.enter_context(trial.worker(pool="solo", concurrency=1, words=each)) for each in words
        ]
        for _ in trial.watch(lambda: _up(trial), WORKERS, worker=workers[0], patience=_START * WORKERS):
            pass
        trial.ask("limited", "paced", warm := int(span / 20 * PACE))
        for _ in trial.watch(lambda: len(_starts(trial)), warm, worker=workers[0]):
            pass
        trial.ask("limited", "paced", int(span * 1.3 * PACE))
        for _ in trial.watch(lambda: len(_starts(trial)), warm + 1, worker=workers[0]):
            pass
        time.sleep(span / 3)
        workers[-1].send(signal.SIGSTOP)
        time.sleep(span * FROZEN)
        workers[-1].send(signal.SIGCONT)
        time.sleep(span * 2 / 3)
    _refuse_doubles(trial, trial.witness.done() - known)
    return most_and_first(_starts(trial)[warm:], span)


def _refuse_doubles(trial: Trial, runs: int) -> None:
    """
    Raises:
        NotMeasured: an attempt ran twice, or one that is on record did not run.
    """
    row = trial.database.execute(_ATTEMPTS).fetchone()
    if row is None or row[0] != runs:
        raise NotMeasured(f"{runs} runs of {row and row[0]} attempts")


def _up(trial: Trial) -> int:
    row = trial.database.execute("SELECT count(*) FROM background_workers WHERE stopped IS NULL").fetchone()
    return int(row[0]) if row else 0


def _starts(trial: Trial) -> list[float]:
    return [float(row[0]) for row in trial.database.execute(_STARTS).fetchall()]


def _fair(trial: Trial, jobs: int, plain: float) -> Figures:
    """No-op jobs of a fair queue."""
    known = trial.witness.done()
    trial.environment["CELERIAC_FAIR_BY"] = "user_id"
    trial.enqueue(jobs)
    with trial.worker() as worker:
        rate = drained(trial, jobs, worker=worker, before=known).rate
    del trial.environment["CELERIAC_FAIR_BY"]
    return {"fair_share": rate / plain}


def _held(trial: Trial) -> Figures:
    """Jobs that wait over many keys: as usual, beside an open transaction, with old statistics."""
    (jobs, keys), rounds = trial.stage.scale.of(_HELD), trial.stage.scale.of(_ROUNDS)
    figures: Figures = {}
    for name in ("usual", "open", "stale"):
        trial.database.execute("TRUNCATE background_jobs, background_attempts")
        trial.database.execute("TRUNCATE background_lines, background_permit_keys")
        held_jobs.fill(trial, jobs, keys, analyzed=name != "stale")
        with held_jobs.open_transaction(trial) if name == "open" else nullcontext():
            figures[f"held_{name}"], figures[f"held_{name}_last"] = held_jobs.admit(trial, rounds)
    if not all(figures.values()):
        raise NotMeasured("nothing was admitted")
    return figures


def _measures() -> Iterator[Measure]:
    yield Measure(key="plain", label="jobs/s, no limit anywhere")
    yield Measure(key="beside", label="jobs/s without a limit, beside limits")
    yield Measure(key="beside_share", label="÷ no limit anywhere", digits=2)
    yield Measure(key="loose", label="jobs/s, a limit of 1,000")
    yield Measure(key="loose_share", label="÷ no limit anywhere, limit of 1,000", digits=2)
    for suffix, beside in (("", ""), ("_open", ", a transaction open")):
        yield Measure(key=f"ten_rate{suffix}", label=f"jobs/s, limit of ten{beside}")
        yield Measure(key=f"ten_done{suffix}", label=f"% of what ten can run{beside}")
        yield Measure(key=f"ten_used{suffix}", label=f"% of ten in use{beside}")
        yield Measure(key=f"ten_most{suffix}", label=f"most in use{beside}")
        yield Measure(key=f"ten_late{suffix}", label=f"ms from end to next sent, p99{beside}", digits=1)
    yield Measure(key="rate_most", label="most starts in a minute, 100/s")
    yield Measure(key="rate_first", label="starts in the first minute, 100/s")
    yield Measure(key="fair_share", label="fair queue ÷ no limit anywhere", digits=2)
    for name, how in (("usual", ""), ("open", ", a transaction open"), ("stale", ", stale statistics")):
        yield Measure(key=f"held_{name}", label=f"ms per 100 admitted{how}", digits=1)
        yield Measure(key=f"held_{name}_last", label=f"the same, last tenth{how}", digits=1)


LIMITS = Workload(
    name="limits",
    title="limits: without and with, one that binds, 100/s over four workers, very many held jobs",
    jobs=8_000,
    quick_jobs=300,
    repeat=3,
    quick=False,
    usual=False,
    measures=tuple(_measures()),
    measure=limits,
    of_limits=True,
    applies=lambda entry: entry == CELERIAC or bool(entry.limits),
)
