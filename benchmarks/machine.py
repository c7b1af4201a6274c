"""Describe the machine, the servers with their settings, and the versions."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.errors import NotMeasured
from benchmarks.side_list import Entry
from benchmarks.trial import Trial
from benchmarks.trial_servers import Stage

_POSTGRES = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers")
_VALKEY = ("appendonly", "save")


def facts(stage: Stage, sides: Sequence[Entry]) -> dict[str, str]:
    """Everything that a reader must know before believing a figure, by what it is about."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.system() + " " + platform.release(),
        "processor": f"{_processor()}, {_cores()} cores for this process",
        "load": f"{os.getloadavg()[0]:.2f} before the first trial",
        "fsync": f"{_fsync(stage.data) * 1e6:.0f} µs for 8 KiB, median, where PostgreSQL keeps its data",
        "PostgreSQL": _postgres(stage),
        "Valkey": _valkey(stage),
        **{entry.title: _versions(stage, entry) for entry in sides},
    }


def busy() -> bool:
    """Whether other programs keep this machine from measuring well."""
    return os.getloadavg()[0] > _cores() / 4


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _fsync(directory: Path, times: int = 20) -> float:
    path = directory / "fsync"
    taken = []
    with path.open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(bytes(8192))
            begin = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - begin)
    path.unlink()
    return median(taken)


def _postgres(stage: Stage) -> str:
    with stage.postgres.connect() as connection:
        shown = {name: connection.execute(f"SHOW {name}".encode()).fetchone() for name in _POSTGRES}
        version = connection.execute("SHOW server_version").fetchone()
    settings = ", ".join(f"{name} {row[0]}" for name, row in shown.items() if row)
    return f"{version[0] if version else 'unknown'}; {settings}"


def _valkey(stage: Stage) -> str:
    with stage.valkey.client() as client:
        server = client.info("server")
        settings = {name: client.config_get(name)[name] for name in _VALKEY}
    version = server.get("valkey_version") or server["redis_version"]
    return f"{version}; " + ", ".join(f"{name} {value or 'never'}" for name, value in settings.items())


def _versions(stage: Stage, entry: Entry) -> str:
    try:
        with Trial(entry, stage) as trial:
            return ", ".join(f"{name} {number}" for name, number in trial.ask("versions").items())
    except NotMeasured:
        return "not known"  # its turns will say why
