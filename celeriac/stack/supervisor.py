"""Run the whole platform on this machine: start its services in order, watch them, stop them all."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from alembic.util import CommandError
from kombu.utils.url import maybe_sanitize_url
from sqlalchemy.exc import SQLAlchemyError

from celeriac import private_files
from celeriac.errors import LedgerUnavailable, ServiceFailed, StackRunning
from celeriac.ledger import migrate
from celeriac.stack import console_address, service_logs, services
from celeriac.stack.service import Service, ServiceSpec
from celeriac.stack.service_logs import LineWriter
from celeriac.stack.services import Options
from celeriac.stack.stop_signals import StopSignals

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_TURN = 0.1  # seconds between two checks of the services


class Stack:
    """The private Valkey if there is one, worker, beat, Flower and the console.

    A context manager that stops all of them.

    Call it from the main thread only: signals arrive there, and a service dies with the thread that
    started it. Meanwhile SIGINT, SIGTERM and SIGHUP are counted in ``stop_signals`` and do nothing else.

        with Stack(app) as stack:
            if stack.start():
                stack.wait()

    Args:
        env: environment variables for the services, beside those of this process.
        write_line: called with every line that a service prints.

    Raises:
        StackRunning: at ``with``, when another stack uses the same data directory.
    """

    def __init__(
        self,
        app: Celeriac,
        *,
        options: Options | None = None,
        env: Mapping[str, str] | None = None,
        write_line: LineWriter = service_logs.write_to_terminal,
    ) -> None:
        self.app = app
        self.options = options or Options()
        self.stop_signals = StopSignals()
        self.urls: dict[str, str] = {}
        self._write_line = write_line
        self._data_dir = app.settings.data_dir.absolute()
        here = {"CELERIAC_DATA_DIR": str(self._data_dir), "PYTHONUNBUFFERED": "1"}
        self._env = {**os.environ, **here, **(env or {})}
        self._services: list[Service] = []
        self._exit_stack = ExitStack()

    def start(self) -> bool:
        """Whether everything is up and healthy; False when somebody asked to stop meanwhile.

        Raises:
            ServiceFailed: a service did not start; with the last lines that it printed.
            EmbeddedServerError: there is no Valkey to run.
        """
        self.options = services.without_what_is_missing(self.options, self._write_line)
        return self._start_broker() and self._migrate() and self._start_celery()

    def restart_ended(self) -> None:
        """Restart services that have ended. Call it regularly where ``wait`` is not used."""
        for service in self._services:
            service.restart_if_ended()

    def wait(self) -> None:
        """Watch the services until somebody asks to stop."""
        while not self.stop_signals:
            self.restart_ended()
            time.sleep(_TURN)

    def stop(self) -> None:
        """Stop the services, the last one first. Running jobs may end, until somebody asks to stop again."""
        while self._services:
            service = self._services[-1]
            service.stop(self.stop_signals)
            self._services.pop()

    def __enter__(self) -> Self:
        self._exit_stack.enter_context(_directory_lock(self._data_dir))
        self._exit_stack.enter_context(self.stop_signals)
        self._exit_stack.callback(self.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._exit_stack.close()

    def _start_broker(self) -> bool:
        settings = self.app.settings
        started = True
        if settings.embedded_broker:
            spec = services.valkey(self._data_dir)
            self._reload_broker_address()
            started = self._launch(spec)
        self.urls["broker"] = ", ".join(maybe_sanitize_url(each.for_broker) for each in settings.brokers)
        return started

    def _reload_broker_address(self) -> None:
        """Read the private Valkey's address again: its port may have changed since this process read it."""
        self.app.check_configuration()

    def _migrate(self) -> bool:
        ledger = self.app.settings.ledger
        try:
            revision = migrate.upgrade(**ledger, by_day=self.app.settings.by_day)
        except (SQLAlchemyError, CommandError, LedgerUnavailable, OSError) as exc:
            raise ServiceFailed("the ledger", str(exc).partition("\n")[0]) from exc
        self.urls["ledger"] = ledger["url"].render_as_string(hide_password=True)
        self._write_line("up", f"the ledger is at revision {revision}")
        return not self.stop_signals

    def _start_celery(self) -> bool:
        return (
            self._launch(services.worker(self.app, self.options))
            and (not self.options.beat or self._launch(services.beat(self.app, self.options)))
            and (not self.options.flower or self._start_flower())
            and (not self.options.console or self._start_console())
        )

    def _start_flower(self) -> bool:
        port = self._front_port("Flower", "CELERIAC_FLOWER_PORT", self.app.settings.flower_port)
        self.urls["flower"] = f"http://127.0.0.1:{port}/"
        return self._launch(services.flower(port, self.options))

    def _start_console(self) -> bool:
        port = self._front_port("the console", "CELERIAC_CONSOLE_PORT", self.app.settings.console_port)
        address = console_address.path(self._data_dir)
        address.unlink(missing_ok=True)
        if not self._launch(services.console(port, self.options)):
            return False
        self.urls = {"console": console_address.read(self._data_dir), **self.urls}
        return True

    def _front_port(self, who: str, setting: str, wanted: int) -> int:
        port = services.front_port(wanted)
        if wanted not in (0, port):
            self._write_line("up", f"port {wanted} ({setting}) is taken: {who} listens on {port}")
        return port

    def _launch(self, spec: ServiceSpec) -> bool:
        service = Service(spec, write_line=self._write_line, env=self._env)
        self._services.append(service)
        service.start()
        return service.await_health(self.stop_signals)


@contextmanager
def _directory_lock(data_dir: Path) -> Iterator[None]:
    """Hold the lock of ``data_dir``, which the kernel gives back when this process ends."""
    private_files.make_directory(data_dir)
    with (data_dir / "stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StackRunning(str(data_dir)) from None
        yield
