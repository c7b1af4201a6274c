"""The projects of ``examples/``: copied, run as their READMEs say, looked at through HTTP alone."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.processes import Process, run
from tests.servers import HOST, free_port
from tests.support import wait_until
from tests.workers import PYTEST, ROOT, environment


class ExampleProject:
    """A copy of ``examples/NAME`` with its processes; used as a context manager, nothing of it is left.

    Args:
        variables: its environment beside what every process is given.
    """

    def __init__(self, name: str, home: Path, *, variables: Mapping[str, object]) -> None:
        self.home = home / name
        kept = shutil.ignore_patterns("__pycache__", ".pytest_cache", "instance", "*.db")
        shutil.copytree(ROOT / "examples" / name, self.home, ignore=kept)
        env = environment("", "", {"data_dir": home / "data"})
        for variable in ("CELERY_BROKER_URL", "DATABASE_URL"):
            del env[variable]
        self._env = env | {variable: str(value) for variable, value in variables.items()}
        self._processes = ExitStack()

    def run(self, *words: str) -> str:
        """Run a module to its end; returns what it printed."""
        ended = run([sys.executable, "-m", *words], cwd=self.home, env=self._env)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def tests(self) -> str:
        """Run the tests that it has of its own; returns what pytest printed."""
        return self.run(*PYTEST)

    def start(self, *words: str) -> Process:
        """Start a module, which goes on until the end of the block."""
        argv = [sys.executable, "-m", *words]
        process = Process(argv, log=self.home.parent / f"{words[0]}.log", cwd=self.home, env=self._env)
        self._processes.callback(lambda: print(process.tail()))
        return self._processes.enter_context(process)

    def serve(self, *words: str) -> str:
        """Start its web server with a free port as last word; returns its address when it answers."""
        address = f"http://{HOST}:{(port := free_port())}"
        server = self.start(*words, str(port))

        def answers() -> bool:
            assert server.status is None, server.tail()
            try:
                return call(f"{address}/nothing")[0] == 404
            except (URLError, ConnectionError):
                return False

        wait_until(answers, within=30, saying="the web server answers")
        return address

    def __enter__(self) -> Self:
        self._processes.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._processes.__exit__(*exc)


def call(url: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of the answer to a GET, or to a POST of ``body``."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refusal:
        return refusal.code, refusal.read()


class OutsideService:
    """What a task calls over HTTP: ill at the first call of each job, well from then on.

    Attributes:
        calls: the idempotency key of each call, in order.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: list[str] = []


@contextmanager
def outside_service(answer: Mapping[str, object]) -> Iterator[OutsideService]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            key = self.headers["Idempotency-Key"]
            known = key in service.calls
            service.calls.append(key)
            self.send_response(200 if known else 503)
            self.end_headers()
            self.wfile.write(json.dumps(dict(answer)).encode())

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer((HOST, 0), Handler)
    service = OutsideService(f"http://{HOST}:{server.server_port}/")
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ended_job(address: str, id: str, *, workers: Sequence[Process]) -> dict[str, Any]:
    """What the project says of a job once it has ended."""

    def found() -> dict[str, Any] | None:
        assert all(worker.status is None for worker in workers)
        job: dict[str, Any] = call(f"{address}/jobs/{id}")[1]
        return job if job["state"] in ("completed", "failed", "cancelled") else None

    return wait_until(found, within=60, saying=f"job {id} ends") or {}
