"""Limits of other systems, as far as each has them: what they cost, and whether they are used and kept."""

from __future__ import annotations

import signal
import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.drain_time import drained
from benchmarks.figures import Figures
from benchmarks.limit_sizes import PACE, SECONDS, TEN, VARIABLE
from benchmarks.trial import Trial
from benchmarks.trial_servers import Scale

MINUTE = {Scale.QUICK: 6.0, Scale.USUAL: 60.0}  # seconds for which the rate is watched
WORKERS = 4  # that share the rate
FROZEN = 1 / 20  # share of that time for which one of them is frozen


def measured(trial: Trial, jobs: int) -> Figures:
    """A drain without a limit, and what the side has of limits."""
    has, figures = trial.entry.limits, {"plain": _drain(trial, "", jobs)}
    if "loose" in has:
        figures["loose"] = _drain(trial, "loose", jobs)
        figures["loose_share"] = figures["loose"] / figures["plain"]
    if "ten" in has:
        figures["ten_rate"] = _drain(trial, "ten", jobs)
        figures["ten_done"] = 100 * figures["ten_rate"] * SECONDS / TEN
    if "paced" in has:
        figures |= _rate(trial)
    return figures


def most_and_first(starts: Sequence[float], span: float) -> Figures:
    """Of starts in their order: the most in any ``span`` seconds, and those in the first; for a minute."""
    most = max(bisect_left(starts, first + span) - place for place, first in enumerate(starts))
    return {"rate_most": most / span * 60, "rate_first": bisect_left(starts, starts[0] + span) / span * 60}


def _drain(trial: Trial, limit: str, jobs: int) -> float:
    known = trial.witness.done()
    if limit:
        trial.environment[VARIABLE] = "1"
        trial.ask("limited", limit, jobs)
    else:
        trial.ask("many", jobs)
    with trial.worker() as worker:
        return drained(trial, jobs, worker=worker, before=known).rate


def _rate(trial: Trial) -> Figures:
    """As with Celeriac; of the first jobs each is left out that ran before all workers were up."""
    span = trial.stage.scale.of(MINUTE)
    with ExitStack() as stack:
        workers = [stack.enter_context(trial.worker(pool="solo", concurrency=1)) for _ in range(WORKERS)]
        trial.ask("limited", "paced", warm := int(span / 20 * PACE))
        for _ in trial.watch(lambda: len(trial.witness.waits()), warm, worker=workers[0]):
            pass
        trial.ask("limited", "paced", int(span * 1.3 * PACE))
        for _ in trial.watch(lambda: len(trial.witness.waits()), warm + 1, worker=workers[0]):
            pass
        time.sleep(span / 3)
        workers[-1].send(signal.SIGSTOP)
        time.sleep(span * FROZEN)
        workers[-1].send(signal.SIGCONT)
        time.sleep(span * 2 / 3)
    return most_and_first(sorted(trial.witness.waits()[warm:]), span)
