"""The liveness file of a worker or a beat: whether its loop turns, and when the ledger last answered.

A thread of its own writes the file. ``celery -A app health`` reads it, and needs no server for that.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from celeriac import private_files
from celeriac.events import Event
from celeriac.settings.platform import Settings

logger = logging.getLogger(__name__)

EVERY = 2.0  # seconds between two writes
_STALE = 15.0  # a file that is older, in seconds, means that its process hangs
_STUCK = 60.0  # seconds that a loop may take for one turn


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessReport:
    """What the liveness file holds.

    Attributes:
        written: when the file was written, in seconds since 1970.
        loop: seconds since the last turn of the process's loop.
        ledger: seconds since the ledger answered; None: it never has.
        connected: whether the process is connected to the broker.
        trouble: why outcomes of jobs cannot be recorded; None: they can.
    """

    role: str
    host: str
    pid: int
    written: float
    loop: float
    ledger: float | None
    connected: bool
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """``live``: do not restart it. ``ready``: it does its work. ``reason``: why it is not."""

    live: bool
    ready: bool
    reason: str | None = None


def judge(report: LivenessReport, *, now: float, silence: float) -> Health:
    """Judge the health of a process from its report.

    Args:
        now: seconds since 1970.
        silence: seconds without an answer of the ledger after which the process is not ready.
    """
    age = now - report.written
    if age > _STALE:
        return Health(False, False, f"it has said nothing for {age:.0f} s")
    if report.loop > _STUCK:
        return Health(False, False, f"its loop has not turned for {report.loop:.0f} s")
    if report.ledger is None or report.ledger + age > silence:
        return Health(True, False, "the ledger does not answer it")
    if report.trouble is not None:
        return Health(True, False, report.trouble)
    if not report.connected:
        return Health(True, False, "it has no connection to the broker")
    return Health(True, True)


class LivenessReporter:
    """Writes the liveness file of this process.

    Args:
        connected: whether the process is connected to the broker. While it is not, its loop waits, and a loop
            that does not turn is no fault.
        busy: whether the loop itself runs the jobs (solo). Then it cannot turn meanwhile.
        trouble: why outcomes of jobs cannot be recorded; None: they can.
    """

    def __init__(
        self,
        role: str,
        settings: Settings,
        *,
        connected: Callable[[], bool] = lambda: True,
        busy: bool = False,
        trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._role = role
        self._silence = settings.worker_timeout
        self._connected = connected
        self._busy = busy
        self._trouble = trouble
        self._last_turn = time.monotonic()
        self._last_answer: float | None = None
        self._path = path(settings.data_dir, role, os.getpid())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and remove the file, so that a process that ended is not reported as ill."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(EVERY)
        self._path.unlink(missing_ok=True)

    def loop_turned(self) -> None:
        """Note a turn of the loop."""
        self._last_turn = time.monotonic()

    def ledger_answered(self) -> None:
        """Note an answer of the ledger."""
        self._last_answer = time.monotonic()

    def report(self) -> LivenessReport:
        now, connected = time.monotonic(), self._connected()
        if self._busy or not connected:
            self._last_turn = now
        return LivenessReport(
            role=self._role,
            host=socket.gethostname(),
            pid=os.getpid(),
            written=time.time(),
            loop=now - self._last_turn,
            ledger=None if self._last_answer is None else now - self._last_answer,
            connected=connected,
            trouble=self._trouble(),
        )

    def health(self) -> Health:
        return judge(self.report(), now=time.time(), silence=self._silence)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                _write(self._path, self.report())
            except OSError as exc:
                logger.error(Event.NO_PULSE, {"error": exc})
            self._ended.wait(EVERY)


def path(data_dir: Path, role: str, pid: int) -> Path:
    return data_dir / "health" / f"{role}-{socket.gethostname()}-{pid}.json"


def known(data_dir: Path, *, role: str | None = None) -> Iterator[LivenessReport]:
    """The reports of the processes that run on this machine. Files of processes that are gone are skipped."""
    for file in sorted((data_dir / "health").glob(f"{role or '*'}-*.json")):
        try:
            found = LivenessReport(**json.loads(file.read_text()))
        except (OSError, ValueError, TypeError):  # the process ended meanwhile, or has another version
            continue
        if found.host == socket.gethostname() and _exists(found.pid):
            yield found


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _write(file: Path, report: LivenessReport) -> None:
    private_files.make_directory(file.parent)
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(asdict(report)))
    draft.replace(file)
