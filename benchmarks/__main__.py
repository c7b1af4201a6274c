"""``python -m benchmarks``: which workloads to run, how often, with how many jobs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console

from benchmarks import environments, machine, plots, report
from benchmarks.errors import NotMeasured
from benchmarks.side_list import BASELINE, DEFAULT, SIDES, Entry
from benchmarks.trial_servers import Scale, Stage
from benchmarks.workload import Run, Workload, take_turns
from benchmarks.workloads import WORKLOADS
from tests.binaries import ServerMissing

_SIDES = (
    f"a side to run next to {BASELINE.title}, again for more; "
    f"in place of {', '.join(entry.name for entry in DEFAULT)}: {', '.join(entry.name for entry in SIDES)}"
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 if something could not be measured."""
    options = _options(words)
    console, begun = Console(), datetime.now(UTC)
    sides, missing = _ready(console, _asked(options))
    runs: list[Run] = []
    with Stage(_scale(options)) as stage:
        facts = machine.facts(stage, sides)
        report.show_facts(console, facts)
        if machine.busy():
            console.print("this machine is busy already: expect worse figures, wider apart", style="yellow")
        for workload in _chosen(options):
            runs.append(_run(console, workload, sides, stage, options))
            report.show(console, runs[-1])
            path = report.write(runs, facts, begun=begun)  # each time, so that Ctrl-C loses little
    console.print(f"written to {path.relative_to(environments.ROOT)}", highlight=False)
    try:
        drawn = [plots.draw(run, path) for run in runs]
        console.print(f"drawn: {', '.join(one.name for one in drawn)}", highlight=False)
    except plots.NoPlots as exc:
        console.print(str(exc), markup=False)
    if options.quick:
        console.print("quick: this shows that the benchmarks work, and nothing else", style="yellow")
    return 1 if missing or any(one.problems for run in runs for one in run.rounds) else 0


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    own = "in place of each workload's own number"
    parser.add_argument("--repeat", type=_positive, metavar="N", help=f"rounds, {own}")
    parser.add_argument("--jobs", type=_positive, metavar="N", help=f"jobs, {own}")
    parser.add_argument(
        "--side", action="append", choices=[entry.name for entry in SIDES], metavar="NAME", help=_SIDES
    )
    parser.add_argument("--all", action="store_true", help="every side")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="one round of a few jobs: does it run at all?")
    sizes.add_argument("--large", action="store_true", help="every workload, on ledgers of millions: hours")
    return parser.parse_args(words)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"wanted at least 1, found {number}")
    return number


def _asked(options: argparse.Namespace) -> list[Entry]:
    """The sides of this run, in the catalogue's order; always the one that ratios are to."""
    names = [entry.name for entry in DEFAULT] if options.side is None else [BASELINE.name, *options.side]
    return [entry for entry in SIDES if options.all or entry.name in names]


def _ready(console: Console, sides: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """The sides that can run here, and those that cannot."""
    found, missing = [], []
    for entry in sides:
        try:
            environments.ready(entry)
            found.append(entry)
        except NotMeasured as exc:
            console.print(str(exc), style="red", markup=False)
            missing.append(entry)
    return found, missing


def _chosen(options: argparse.Namespace) -> list[Workload]:
    if options.only:
        return [workload for workload in WORKLOADS if workload.name in options.only]
    if options.quick:
        return [workload for workload in WORKLOADS if workload.quick]
    return [workload for workload in WORKLOADS if workload.usual or options.large]


def _scale(options: argparse.Namespace) -> Scale:
    if options.quick:
        return Scale.QUICK
    return Scale.LARGE if options.large else Scale.USUAL


def _run(
    console: Console, workload: Workload, sides: Sequence[Entry], stage: Stage, options: argparse.Namespace
) -> Run:
    jobs = options.jobs or workload.size(stage.scale)
    repeat = options.repeat or (1 if options.quick else workload.repeat)
    run = Run(workload, jobs, workload.among(sides))
    for turn in take_turns(run, stage, repeat=repeat):
        report.show_turn(console, run, turn)
    return run


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServerMissing as exc:
        sys.exit(str(exc))
    except KeyboardInterrupt:
        sys.exit(130)
