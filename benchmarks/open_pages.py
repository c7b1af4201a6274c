"""People at the console: a process that serves it, and readers that ask it for pages as a browser does."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from benchmarks import environments
from benchmarks.errors import NotMeasured
from benchmarks.trial import Trial
from tests.processes import Process, scratch

_START = 60.0  # seconds that the console may take to print its address
_ANSWER = 30.0  # seconds that a page may take
EVERY = 2.0  # seconds between two reads of an open page


@dataclass(frozen=True)
class Answer:
    """One page as it came.

    Attributes:
        first_byte: seconds from the request to the status line and the headers.
    """

    status: int
    first_byte: float
    body: bytes


@dataclass
class Console:
    """A console that serves, and somebody's session in it."""

    process: Process
    address: str  # host:port
    cookie: str

    def get(self, path: str) -> Answer:
        """One page, over a connection of its own."""
        with closing(self.connect()) as connection:
            return self.get_over(connection, path)

    def get_over(self, connection: HTTPConnection, path: str, *, again: bool = False) -> Answer:
        """What a browser is sent, over a connection that it keeps.

        Args:
            again: as the script of a page asks that is open already.
        """
        begin = time.perf_counter()
        headers = {"Cookie": self.cookie, "Accept": "text/html"} | ({"HX-Request": "true"} if again else {})
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        first = time.perf_counter() - begin
        return Answer(answer.status, first, answer.read())

    def connect(self) -> HTTPConnection:
        """A new connection, to be closed."""
        return HTTPConnection(self.address, timeout=_ANSWER)


@contextmanager
def console(trial: Trial) -> Iterator[Console]:
    """A console beside the trial's servers, with the session that its printed address opens."""
    command = environments.interpreter(trial.entry).with_name("celery")
    argv = [str(command), "-A", "app", "console", "--port", "0"]
    place = scratch("console")
    environment = {**trial.environment, "CELERIAC_DATA_DIR": str(place / "data")}
    with Process(argv, log=place / "log", cwd=environments.ROOT, env=environment) as process:
        yield _entered(process)


def _entered(process: Process) -> Console:
    deadline = time.monotonic() + _START
    while (found := re.search(r"console: (http://\S+)", process.tail(20))) is None:
        if process.status is not None or time.monotonic() > deadline:
            raise NotMeasured(f"the console does not start\n{process.tail(20)}")
        time.sleep(0.05)
    url = urlsplit(found[1])
    connection = HTTPConnection(url.netloc, timeout=_ANSWER)
    connection.request("GET", f"{url.path}?{url.query}")
    answer = connection.getresponse()
    answer.read()
    cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
    connection.close()
    return Console(process, url.netloc, cookie)


@dataclass
class Readers:
    """How often pages were read, how many of these reads failed, and what they cost those who read.

    Attributes:
        spent: seconds of a core, known when all have ended.
    """

    read: int = 0
    failed: int = 0
    spent: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, ok: bool) -> None:
        with self._lock:
            self.read += 1
            self.failed += not ok

    def spend(self, seconds: float) -> None:
        with self._lock:
            self.spent += seconds


@contextmanager
def readers(console: Console, pages: Sequence[str]) -> Iterator[Readers]:
    """Somebody at each of ``pages`` while the block goes on: each page is read again every two seconds."""
    counted, ended = Readers(), threading.Event()
    threads = [
        threading.Thread(target=_read, args=(console, page, number, len(pages), counted, ended.wait))
        for number, page in enumerate(pages)
    ]
    for thread in threads:
        thread.start()
    try:
        yield counted
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _read(
    console: Console, page: str, number: int, of: int, counted: Readers, wait: Callable[[float], bool]
) -> None:
    if wait(EVERY * number / of):  # not all at the same moment
        return
    again = False
    with closing(console.connect()) as connection:
        while True:
            begin = time.monotonic()
            try:
                again = console.get_over(connection, page, again=again).status == 200
            except (OSError, HTTPException):
                again = False
                connection.close()  # the next read opens it anew
            counted.note(again)
            if wait(max(0.0, EVERY - (time.monotonic() - begin))):
                counted.spend(time.thread_time())
                return
