"""What the limits of all sides allow. Standard library only: it is read in every side's environment."""

from __future__ import annotations

#: The variable that asks for tasks with limits.
VARIABLE = "BENCHMARK_LIMITS"

#: Seconds that a job of the limit of ten sleeps, and how many may be in use.
SECONDS, TEN = 0.005, 10

#: A limit that does not bind.
LOOSE = 1_000

#: Starts a second.
PACE = 100
