"""Read a process's memory, CPU time and sockets from the kernel."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.errors import NotMeasured
from tests.processes import descendants

_PROC = Path("/proc")


def resident(pid: int) -> float:
    """Resident memory of one process, without its children, in MiB."""
    statm = _PROC / str(pid) / "statm"
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) / 2**10


def shared_fairly(pid: int) -> float:
    """Memory of a process and its descendants in MiB: what they share counts once (PSS).

    Raises:
        NotMeasured: the system has no /proc.
    """
    found = 0
    for each in (pid, *descendants(pid)):
        try:
            rolled_up = (_PROC / str(each) / "smaps_rollup").read_text()
        except OSError:
            raise NotMeasured("shared memory is read in /proc, which this system does not have") from None
        found += next(int(line.split()[1]) for line in rolled_up.splitlines() if line.startswith("Pss:"))
    return found / 2**10


def processor_time(pid: int) -> float:
    """Seconds of a core that one process has used, without its children.

    Raises:
        NotMeasured: the system has no /proc.
    """
    return sum(_times(pid)[:2])


def processor_time_of_tree(pid: int) -> float:
    """The same of a process and its descendants, those that have ended and were waited for included.

    Raises:
        NotMeasured: the system has no /proc.
    """
    return sum(sum(_times(each)) for each in (pid, *descendants(pid)))


def _times(pid: int) -> list[float]:
    """Seconds of a process: user, system, and both of the children that it waited for."""
    stat = _PROC / str(pid) / "stat"
    if not _PROC.joinpath("self").exists():
        raise NotMeasured("processor time is read in /proc, which this system does not have")
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # ended meanwhile: its parent has its time now
        return []
    return [int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:15]]


def ports(pid: int) -> set[int]:
    """Local ports of the TCP sockets that a process has open.

    Raises:
        NotMeasured: the system has no /proc.
    """
    if not (_PROC / "net" / "tcp").exists():
        raise NotMeasured("sockets are looked up in /proc, which this system does not have")
    sockets = _sockets(pid)
    found = set()
    for table in ("tcp", "tcp6"):
        path = _PROC / str(pid) / "net" / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            local, inode = (line.split()[field] for field in (1, 9))
            if f"socket:[{inode}]" in sockets:
                found.add(int(local.rpartition(":")[2], 16))
    return found


def _sockets(pid: int) -> set[str]:
    names = set()
    for descriptor in (_PROC / str(pid) / "fd").glob("*"):
        try:
            names.add(os.readlink(descriptor))
        except FileNotFoundError:
            continue  # closed meanwhile
    return names
