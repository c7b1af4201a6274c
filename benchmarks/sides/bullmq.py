"""BullMQ on Node, its defaults: a worker is one process that takes many jobs at a time; all stay in Redis."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.environments import home_of
from benchmarks.limit_sizes import LOOSE, PACE, SECONDS, TEN
from benchmarks.side import Side, main
from benchmarks.side_list import BULLMQ

_SCRIPT = Path(__file__).with_suffix(".cjs")

os.environ |= {
    "BENCHMARK_TEN": str(TEN),
    "BENCHMARK_LOOSE": str(LOOSE),
    "BENCHMARK_PACE": str(PACE),
    "BENCHMARK_MILLISECONDS": f"{SECONDS * 1e3:g}",
}

#: Jobs that each of its two processes takes at a time.
_EACH = 10


def node(*words: object) -> list[str]:
    return [shutil.which("node") or "node", str(_SCRIPT), str(home_of(BULLMQ)), *map(str, words)]


def add(queue: str, n: object) -> None:
    subprocess.run(node("add", queue, n), check=True, stdout=sys.stderr)


def worker(pool: str, concurrency: int) -> list[str]:
    if pool == "solo":
        return node("work", 1)
    return [sys.executable, "-m", "benchmarks.many_workers", "2", *node("work", _EACH)]


def version() -> dict[str, str]:
    found = json.loads((home_of(BULLMQ) / "node_modules" / "bullmq" / "package.json").read_text())
    return {"bullmq": found["version"]}


if __name__ == "__main__":
    main(
        Side(
            noop=lambda: add("noop", 1),
            timed=lambda sent: None,
            worker=worker,
            many=lambda n: add("noop", n),
            own={"limited": add, "versions": version},
            distributions=(),
        )
    )
