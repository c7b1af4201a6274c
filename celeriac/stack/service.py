"""A service of the stack: a process that is started, watched, restarted and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from celeriac.errors import ServiceFailed
from celeriac.stack.child_process import spawn
from celeriac.stack.service_logs import LineWriter
from celeriac.stack.stop_signals import StopSignals

LINES_KEPT = 15  # of a service's output, for the error that says why it did not start
STEADY = 60.0  # a service that ran longer, in seconds, is restarted after the shortest pause
_LONGEST_PAUSE = 30.0  # seconds
_POLL = 0.05  # seconds
_PATIENCE = 10.0  # seconds to wait for what should happen at once


@dataclass(frozen=True, slots=True)
class StopStep:
    """A signal to send, and the seconds until the next step; None: until somebody asks to stop once more."""

    number: signal.Signals
    patience: float | None = _PATIENCE


AT_ONCE = (StopStep(signal.SIGTERM), StopStep(signal.SIGKILL))


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """How to start, check and stop a service.

    Args:
        healthy: returns whether it works; called again and again after the start.
        within: seconds until it must be healthy.
        stop_steps: the signals that stop it, in order.
        when_orphaned: the signal that it gets when this process dies.
    """

    name: str
    argv: tuple[str, ...]
    healthy: Callable[[], bool]
    within: float = 60.0
    stop_steps: tuple[StopStep, ...] = AT_ONCE
    when_orphaned: signal.Signals = signal.SIGKILL


class Service:
    """A process made from ``spec``, with everything it forks; every call comes from the main thread."""

    def __init__(
        self, spec: ServiceSpec, *, write_line: LineWriter, env: Mapping[str, str] | None = None
    ) -> None:
        self.spec = spec
        self._write_line = write_line
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._reader: threading.Thread | None = None
        self._started = 0.0
        self._ends = 0  # in a row
        self._again_at: float | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        self._started, self._again_at = time.monotonic(), None
        self._process = spawn(self.spec.argv, when_orphaned=self.spec.when_orphaned, env=self._env)
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), name=f"{self.spec.name}-lines", daemon=True
        )
        self._reader.start()

    def await_health(self, stop_signals: StopSignals) -> bool:
        """Whether it became healthy; False when somebody asked to stop meanwhile.

        Raises:
            ServiceFailed: it ended, or was not healthy in time.
        """
        deadline = self._started + self.spec.within
        while not stop_signals:
            if self.status is not None:
                raise self._failed(f"it ended with {describe(self.status)}")
            if self.spec.healthy():
                return True
            if time.monotonic() >= deadline:
                raise self._failed(f"it was not healthy within {self.spec.within:g} s")
            time.sleep(_POLL)
        return False

    def restart_if_ended(self) -> None:
        """Restart it if it has ended, after a pause that grows with each end."""
        if self._again_at is not None:
            if time.monotonic() >= self._again_at:
                self.start()
        elif (status := self.status) is not None:
            self._end_group()
            self._ends = 1 if time.monotonic() - self._started >= STEADY else self._ends + 1
            pause = pause_after(self._ends)
            self._again_at = time.monotonic() + pause
            name = self.spec.name
            self._write_line(
                "up", f"{name} ended with {describe(status)}; it is started again in {pause:g} s"
            )

    def stop(self, stop_signals: StopSignals) -> None:
        """Stop it and all that it forked, and wait. Each further stop signal goes to the next step."""
        for step in self.spec.stop_steps:
            if self._process is not None and self.status is None:
                self._process.send_signal(step.number)
                self._wait(step.patience, stop_signals)
        self._end_group()

    def _wait(self, patience: float | None, stop_signals: StopSignals) -> None:
        asked = stop_signals.count
        deadline = None if patience is None else time.monotonic() + patience
        while self.status is None and stop_signals.count == asked:
            if deadline is not None and time.monotonic() >= deadline:
                return
            time.sleep(_POLL)

    def _end_group(self) -> None:
        if self._process is None or self._reader is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # macOS: the group has ended
            os.killpg(self._process.pid, signal.SIGKILL)  # what it forked may still run
        self._process.wait(_PATIENCE)
        self._reader.join(_PATIENCE)
        self._process = None  # its process id may be reused from now on

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for raw in output:
                line = raw.decode(errors="replace").rstrip()
                self._lines.append(line)
                with suppress(OSError, ValueError):  # a reader that hung up must not block the service
                    self._write_line(self.spec.name, line)

    def _failed(self, reason: str) -> ServiceFailed:
        self._end_group()  # after this its last lines have been read
        return ServiceFailed(self.spec.name, reason, [line for line in self._lines if line])


def pause_after(ends: int) -> float:
    """Seconds until a service that has ended ``ends`` times in a row is started again.

    >>> [pause_after(ends) for ends in (1, 2, 3, 9)]
    [1.0, 2.0, 4.0, 30.0]
    """
    return min(2.0 ** (ends - 1), _LONGEST_PAUSE)


def describe(status: int) -> str:
    """An exit status in words.

    >>> describe(1), describe(-9)
    ('status 1', 'SIGKILL')
    """
    names = {int(number): number.name for number in signal.Signals}
    return names.get(-status, f"status {status}")
