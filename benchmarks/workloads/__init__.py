"""The workloads, one file each, in the order in which they run."""

from __future__ import annotations

from benchmarks.workload import Workload
from benchmarks.workloads.bloat import BLOAT
from benchmarks.workloads.bulk import BULK
from benchmarks.workloads.connections import CONNECTIONS
from benchmarks.workloads.console import CONSOLE
from benchmarks.workloads.coroutines import COROUTINES
from benchmarks.workloads.cost import COST
from benchmarks.workloads.crowd import CROWD
from benchmarks.workloads.delay import DELAY
from benchmarks.workloads.drain import DRAIN
from benchmarks.workloads.events import EVENTS
from benchmarks.workloads.fair import FAIR
from benchmarks.workloads.fleet import FLEET
from benchmarks.workloads.growth import GROWTH
from benchmarks.workloads.latency import LATENCY
from benchmarks.workloads.lateness import LATENESS
from benchmarks.workloads.limits import LIMITS
from benchmarks.workloads.listing import LISTING
from benchmarks.workloads.memory import MEMORY
from benchmarks.workloads.mix import MIX
from benchmarks.workloads.partitions import PARTITIONS
from benchmarks.workloads.pools import POOLS
from benchmarks.workloads.pruning import PRUNING
from benchmarks.workloads.roundtrip import ROUNDTRIP
from benchmarks.workloads.start import START
from benchmarks.workloads.work import WORK

WORKLOADS: tuple[Workload, ...] = (
    DRAIN,
    WORK,
    COROUTINES,
    MIX,
    EVENTS,
    POOLS,
    COST,
    DELAY,
    BULK,
    LATENCY,
    ROUNDTRIP,
    LATENESS,
    CONNECTIONS,
    MEMORY,
    START,
    GROWTH,
    CROWD,
    FLEET,
    PRUNING,
    PARTITIONS,
    LISTING,
    CONSOLE,
    BLOAT,
    FAIR,
    LIMITS,
)
