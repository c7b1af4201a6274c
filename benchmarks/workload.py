"""A workload: a name, sizes, and a function that makes figures of a trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.errors import NotMeasured
from benchmarks.figures import Figures, Measure, Round
from benchmarks.side_list import BASELINE, SIDES, Entry
from benchmarks.trial import Trial
from benchmarks.trial_servers import Scale, Stage


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a file of ``benchmarks/workloads`` defines."""

    name: str
    title: str
    jobs: int
    quick_jobs: int  # with --quick: does it run at all?
    measures: tuple[Measure, ...]
    measure: Callable[[Trial, int], Figures]
    repeat: int = 5  # rounds, unless --repeat says otherwise
    quick: bool = True  # whether --quick runs it without being asked
    usual: bool = True  # whether it runs without being named
    large_jobs: int | None = None  # with --large; None: as many as without
    applies: Callable[[Entry], bool] = lambda entry: True
    of_limits: bool = False  # whether it measures limits
    baseline: Entry = BASELINE  # ratios are to this side, which runs whoever was asked for

    def size(self, scale: Scale) -> int:
        """How many jobs, unless --jobs says otherwise."""
        if scale is Scale.QUICK:
            return self.quick_jobs
        return (scale is Scale.LARGE and self.large_jobs) or self.jobs

    def among(self, sides: Sequence[Entry]) -> list[Entry]:
        """Those of ``sides`` that it applies to, and its baseline, in the catalogue's order."""
        mine = [entry for entry in SIDES if entry in sides or entry == self.baseline]
        return [entry for entry in mine if self.applies(entry) and (self.of_limits or not entry.only_limits)]


@dataclass
class Run:
    """One workload with what came of it."""

    workload: Workload
    jobs: int
    sides: Sequence[Entry]
    rounds: list[Round] = field(default_factory=list)


@dataclass(frozen=True)
class Turn:
    """One side's turn in one round, as it is told while it goes on."""

    number: int
    entry: Entry
    figures: Figures | None = None
    problem: str | None = None


def take_turns(run: Run, stage: Stage, *, repeat: int) -> Iterator[Turn]:
    """Every side once, then every side again: what disturbs the machine disturbs them alike."""
    for number in range(1, repeat + 1):
        run.rounds.append(Round())
        for entry in run.sides:
            turn = _turn(run, stage, number, entry)
            if turn.figures is not None:
                run.rounds[-1].figures[entry.name] = turn.figures
            else:
                run.rounds[-1].problems[entry.name] = str(turn.problem)
            yield turn


def _turn(run: Run, stage: Stage, number: int, entry: Entry) -> Turn:
    try:
        with Trial(entry, stage) as trial:
            return Turn(number, entry, figures=run.workload.measure(trial, run.jobs))
    except NotMeasured as exc:
        return Turn(number, entry, problem=str(exc))
