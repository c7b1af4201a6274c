"""Actions on many jobs: each runs in a thread of the console, in batches, and may be stopped.

It goes on when the browser is closed. When the console ends, what is not done yet stays undone; what is
done is in the ledger, so that the same action again does the rest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from celeriac.display import safe
from celeriac.events import Event
from celeriac.ids import new_id

logger = logging.getLogger(__name__)

#: Does the action; it is given what it calls after each batch with the number of jobs so far.
Act = Callable[[Callable[[int], None]], int]

_KEPT = 100  # operations that are remembered


class Stopped(Exception):
    """Somebody pressed the stop button."""


@dataclass
class Operation:
    who: str
    what: str  # as "cancel (soft)"
    which: str  # the filter or the jobs, in words
    total: int  # as it was counted before
    back: str  # the path of the page that it came from
    id: str = field(default_factory=new_id)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    done: int = 0
    error: str = ""
    stopping: bool = False

    @property
    def state(self) -> str:
        if self.ended is None:
            return "stopping" if self.stopping else "running"
        if self.error:
            return "failed"
        return "stopped" if self.stopping else "done"

    def shape(self) -> dict[str, object]:
        return {
            "id": self.id,
            "who": self.who,
            "action": self.what,
            "jobs": self.which,
            "state": self.state,
            "counted": self.total,
            "done": self.done,
            "rate": round(self.rate, 1),
            "began": self.began,
            "ended": self.ended,
            "error": self.error or None,
        }

    @property
    def rate(self) -> float:
        """Jobs a second, so far."""
        seconds = ((self.ended or datetime.now(UTC)) - self.began).total_seconds()
        return self.done / seconds if seconds else 0.0


class Operations:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Operation] = {}

    def start(self, operation: Operation, act: Act) -> Operation:
        """Begin it in a thread of its own."""
        with self._lock:
            while len(self._known) >= _KEPT:
                ended = next((key for key, one in self._known.items() if one.ended), next(iter(self._known)))
                del self._known[ended]
            self._known[operation.id] = operation
        logger.info(Event.CONSOLE_ACTION, fields_of(operation))
        threading.Thread(target=_run, args=(operation, act), name="console-act", daemon=True).start()
        return operation

    def find(self, id: str) -> Operation | None:
        return self._known.get(id)

    def latest(self) -> list[Operation]:
        """Those that are remembered, the newest first."""
        with self._lock:
            return list(self._known.values())[::-1]

    def stop_all(self, *, within: float = 5.0) -> None:
        """Ask all to stop, and wait for the batch that each is at."""
        ends = time.monotonic() + within
        for operation in self.latest():
            operation.stopping = operation.stopping or operation.ended is None
        while any(one.ended is None for one in self.latest()) and time.monotonic() < ends:
            time.sleep(0.02)


def log_change(user: str, action: str, subject: str) -> None:
    """Log who did what; never a value of a job."""
    fields = {"user": safe(user), "action": action, "subject": safe(subject, length=300)}
    logger.info(Event.CONSOLE_CHANGE, fields)


def fields_of(operation: Operation) -> dict[str, object]:
    return {
        "user": safe(operation.who),
        "action": operation.what,
        "filter": safe(operation.which, length=500),
        "jobs": operation.total,
    }


def _run(operation: Operation, act: Act) -> None:
    def progress(done: int) -> None:
        operation.done = done
        if operation.stopping:
            raise Stopped

    try:
        operation.done = act(progress)
    except Stopped:
        pass
    except Exception as exc:  # it is told on the operation's page; the thread has nobody else to tell
        operation.error = safe(str(getattr(exc, "orig", None) or exc).partition("\n")[0], length=300)
    operation.ended = datetime.now(UTC)
