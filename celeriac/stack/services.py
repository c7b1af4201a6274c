"""The services of the stack: the command of each, and the check whether it works."""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from celery.utils.nodenames import gethostname, nodename
from redbeat.schedulers import RedBeatConfig, get_redis
from redis.exceptions import RedisError

from celeriac.errors import FlowerMissing
from celeriac.settings.platform import EmbeddedAddress, free_port
from celeriac.stack import embedded_valkey
from celeriac.stack.service import ServiceSpec, StopStep
from celeriac.stack.service_logs import LineWriter

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_HOST = "127.0.0.1"
_WORKER = "up"  # its node's name, different from other workers of this machine
_PING = 0.5  # seconds
#: A warm shutdown waits for running jobs. A cold one, when asked once more, gives them up.
_WORKER_STOP_STEPS = (
    StopStep(signal.SIGTERM, None),
    StopStep(signal.SIGQUIT, 15.0),
    StopStep(signal.SIGKILL),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``up``. ``concurrency`` None: Celery's own default.

    Attributes:
        app: of ``celery -A``, where each service finds the app.
    """

    concurrency: int | None = None
    beat: bool = True
    flower: bool = True
    console: bool = True
    loglevel: str = "info"
    app: str = "app"


def without_what_is_missing(options: Options, write_line: LineWriter) -> Options:
    """The options without Flower and the console where they are not installed, which is said then."""
    if options.flower and find_spec("flower") is None:
        write_line("up", f"{FlowerMissing()}; going on without it")
        options = replace(options, flower=False)
    if options.console and find_spec("uvicorn") is None:
        missing = "the console is not installed: run `pip install 'celeriac[console]'`"
        write_line("up", f"{missing}; going on without it")
        options = replace(options, console=False)
    return options


def valkey(data_dir: Path) -> ServiceSpec:
    """The private Valkey.

    Raises:
        EmbeddedServerError: there is no program to run, or it runs already.
    """
    argv = embedded_valkey.prepare(data_dir)
    address = EmbeddedAddress.at(data_dir)
    return ServiceSpec(
        "valkey",
        argv,
        healthy=lambda: embedded_valkey.answers(address),
        within=300.0,  # it may have much data to load
        stop_steps=(StopStep(signal.SIGTERM, 60.0), StopStep(signal.SIGKILL)),
        when_orphaned=signal.SIGTERM,  # at SIGTERM it saves its data
    )


def worker(app: Celeriac, options: Options) -> ServiceSpec:
    node = nodename(_WORKER, gethostname())
    concurrency = () if options.concurrency is None else (f"--concurrency={options.concurrency}",)
    events = ("--task-events",) if options.flower else ()  # only Flower reads them
    argv = _celery(
        options.app, "worker", f"--hostname={node}", f"--loglevel={options.loglevel}", *concurrency, *events
    )
    return ServiceSpec(
        "worker", argv, healthy=lambda: worker_answers(app, node), stop_steps=_WORKER_STOP_STEPS
    )


def beat(app: Celeriac, options: Options) -> ServiceSpec:
    return ServiceSpec(
        "beat",
        _celery(options.app, "beat", f"--loglevel={options.loglevel}", "--pidfile="),
        healthy=lambda: beat_runs(app),
    )


def flower(port: int, options: Options) -> ServiceSpec:
    level = "error" if options.loglevel == "critical" else options.loglevel  # tornado's highest
    return ServiceSpec(
        "flower",
        _celery(options.app, "flower", f"--address={_HOST}", f"--port={port}", f"--logging={level}"),
        healthy=lambda: answers_http(port),
    )


def console(port: int, options: Options) -> ServiceSpec:
    return ServiceSpec(
        "console",
        _celery(options.app, "console", f"--port={port}"),
        healthy=lambda: answers_http(port),
    )


def front_port(wanted: int) -> int:
    """``wanted``, or a free one when that is 0 or taken."""
    return wanted if wanted and _free(wanted) else free_port()


def worker_answers(app: Celeriac, node: str) -> bool:
    """Whether the worker of that name takes messages."""
    try:
        replies = app.control.ping(destination=[node], timeout=_PING)
    except app.broker_errors:
        return False
    return any(node in reply for reply in replies or ())


def beat_runs(app: Celeriac) -> bool:
    """Whether a beat holds redbeat's lock: this one, or one that this one stands by for."""
    try:
        return bool(get_redis(app).exists(RedBeatConfig(app).lock_key))
    except RedisError:
        return False


def answers_http(port: int) -> bool:
    """Whether a server on that port of this machine answers HTTP with a status below 500."""
    with closing(HTTPConnection(_HOST, port, timeout=2)) as connection:
        try:
            connection.request("GET", "/healthcheck")
            return connection.getresponse().status < 500
        except (OSError, HTTPException):
            return False


def _celery(app: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "celery", "-A", app, *words)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as tornado
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True
