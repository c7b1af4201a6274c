"""The pulse of a worker or a beat: a small file that says that its loop turns and when the ledger answered.

Written by a thread that does nothing else, read by ``celery -A app health`` without asking anybody.
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
from celeriac.settings import Settings

logger = logging.getLogger(__name__)

EVERY = 2.0  # seconds between two writes
_STALE = 15.0  # seconds after which a file that is not written any more says that its process hangs
_STUCK = 60.0  # seconds that a loop may stand still


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessReport:
    """What a process tells of itself.

    Attributes:
        written: when, in seconds since 1970.
        loop: seconds since its loop turned.
        ledger: seconds since the ledger answered; None: it never has.
        connected: whether it has the broker.
        trouble: why it cannot record what its jobs came to; None: it can.
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
    """``live``: leave it running; ``ready``: it does its work. ``reason``: why not."""

    live: bool
    ready: bool
    reason: str | None = None


def judge(report: LivenessReport, *, now: float, silence: float) -> Health:
    """The health of a process.

    Args:
        now: seconds since 1970.
        silence: seconds that the ledger may not have answered while the process counts as ready.
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
    """Of this process.

    Args:
        connected: whether it has the broker; while it has not, its loop waits and is not held to be stuck.
        busy: whether the loop itself runs jobs, so that it cannot turn meanwhile.
        trouble: why it cannot record what its jobs came to; None: it can.
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
        self._turned = time.monotonic()
        self._asked: float | None = None
        self._path = path(settings.data_dir, role, os.getpid())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End, and leave no file: a process that has ended is not ill."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(EVERY)
        self._path.unlink(missing_ok=True)

    def loop_turned(self) -> None:
        """The loop has turned."""
        self._turned = time.monotonic()

    def ledger_answered(self) -> None:
        """The ledger has answered."""
        self._asked = time.monotonic()

    def report(self) -> LivenessReport:
        now, connected = time.monotonic(), self._connected()
        if self._busy or not connected:
            self._turned = now
        return LivenessReport(
            role=self._role,
            host=socket.gethostname(),
            pid=os.getpid(),
            written=time.time(),
            loop=now - self._turned,
            ledger=None if self._asked is None else now - self._asked,
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
    """The processes of this machine, as far as they tell; those that are gone have left nothing to see."""
    for file in sorted((data_dir / "health").glob(f"{role or '*'}-*.json")):
        try:
            found = LivenessReport(**json.loads(file.read_text()))
        except (OSError, ValueError, TypeError):  # it ended meanwhile, or is of another version
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
