"""The demonstration: start the stack, enqueue a load, show its progress, check every job's final state."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import UUID

from rich.console import Console
from rich.live import Live

from app.demo import board
from app.demo.board import Tally
from app.demo.load import SECRET_ENV, Enqueuer, Load, load
from app.demo.receiver import Receiver
from celeriac.ledger.reads import job_rows
from celeriac.ledger.reads.job_filter import Filter
from celeriac.ledger.reads.job_rows import DaySummary, Ending
from celeriac.stack.service_logs import LogFiles
from celeriac.stack.supervisor import Stack

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_REFRESH = 0.25  # seconds
_LINE_EVERY = 1.0  # seconds, where nothing is redrawn
_SHOWN = 10  # jobs in a wrong state that are listed
_SLACK = timedelta(hours=1)  # the database's clock may differ from this machine's by so much
_BATCH = 500  # ids of one statement

#: Short backoffs, so that dead letters appear within seconds.
_QUICK_RETRIES = {"CELERIAC_RETRY_BASE": "0.5", "CELERIAC_RETRY_MAX": "2"}


def demonstrate(app: Celeriac, *, jobs: int, within: float, leave: bool) -> bool:
    """Whether every job ended in the state in which it should; True, too, when somebody asked to stop before.

    Args:
        within: seconds that the load may take.
        leave: stop when the load is done, and not when somebody asks to; then all of it must be done.

    Raises:
        ServiceFailed, StackRunning, EmbeddedServerError: the stack did not come up.
        EnqueueError, EnqueueUncertain: a job was not accepted.
    """
    console = Console(highlight=False, soft_wrap=True)
    secret = secrets.token_hex(16)
    logs = app.settings.data_dir.absolute() / "logs"
    with (
        LogFiles(logs) as log_files,
        Receiver(secret.encode()) as receiver,
        Stack(app, env={**_QUICK_RETRIES, SECRET_ENV: secret}, write_line=log_files) as stack,
    ):
        console.print(f"starting worker, beat, Flower and the console; what they print is in {logs}")
        well = stack.start() and _run(stack, Run.of(app, receiver, jobs=jobs), console, within=within)
        cut_short = bool(stack.stop_signals)
        if not leave and not cut_short:
            _print_next_steps(stack, receiver, console)
            stack.wait()
        console.print("stopping")
    return well or (cut_short and not leave)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One load and its jobs in the ledger. Jobs of an earlier load do not count."""

    app: Celeriac
    enqueuer: Enqueuer
    wanted: Load
    began: datetime
    clock: float  # at its beginning, time.monotonic()

    @classmethod
    def of(cls, app: Celeriac, receiver: Receiver, *, jobs: int) -> Self:
        app.loader.import_default_modules()  # the tasks are found by their names
        began = datetime.now(UTC)
        user = f"demo-{secrets.token_hex(4)}"
        enqueuer = Enqueuer(app, receiver.url, user, began.date())
        return cls(app=app, enqueuer=enqueuer, wanted=load(jobs), began=began, clock=time.monotonic())

    def tally(self) -> Tally:
        mine = Filter(user_id=self.enqueuer.user_id, since=self.began - _SLACK)
        with self.app.database.reading() as connection:
            counts = job_rows.counts(connection, mine)
        return Tally.of(counts, wanted=len(self.wanted), seconds=time.monotonic() - self.clock)

    def summary(self) -> DaySummary:
        until = datetime.now(UTC) + _SLACK
        with self.app.database.reading() as connection:
            return job_rows.day_summary(connection, self.began - _SLACK, until, user_id=self.enqueuer.user_id)

    def wrong(self) -> list[str]:
        """A sentence for each job that is in a wrong state."""
        planned = self.enqueuer.accepted
        ids = list(planned)
        found: dict[UUID, Ending] = {}
        with self.app.database.reading() as connection:
            for start in range(0, len(ids), _BATCH):
                found |= job_rows.endings(connection, ids[start : start + _BATCH])
        return [
            f"{id} ({wanted}): wanted {wanted.state}, found {found[id].state if id in found else 'no row'}"
            for id, wanted in planned.items()
            if id not in found or found[id].state is not wanted.state
        ]


def _run(stack: Stack, run: Run, console: Console, *, within: float) -> bool:
    """Whether every job ended in its planned state."""
    with ThreadPoolExecutor(1, "enqueue") as pool:
        enqueuing = pool.submit(run.enqueuer.enqueue, run.wanted, stop=lambda: stack.stop_signals)
        _watch(stack, run, enqueuing, console, within=within)
    summary = run.summary()
    console.print()
    console.print(board.numbers(summary))
    console.print()
    console.print(board.sentence(summary))
    if stack.stop_signals:
        console.print("stopped before all of them were done")
        return False
    return _judge(run, console)


def _watch(stack: Stack, run: Run, enqueuing: Future[None], console: Console, *, within: float) -> None:
    """Show the load's progress until it is done, takes too long, or somebody asks to stop."""
    with _view(console) as show:
        while not stack.stop_signals:
            tally = run.tally()
            show(tally)
            if enqueuing.done():
                enqueuing.result()  # raises what it raised
            if tally.done >= tally.wanted or tally.seconds >= within:
                return
            stack.restart_ended()
            time.sleep(_REFRESH)


@contextmanager
def _view(console: Console) -> Iterator[Callable[[Tally], None]]:
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda tally: live.update(board.live(tally), refresh=True)
        return
    last_line = -_LINE_EVERY

    def line(tally: Tally) -> None:
        nonlocal last_line
        if tally.seconds - last_line >= _LINE_EVERY or tally.done >= tally.wanted:
            last_line = tally.seconds
            console.print(board.plain(tally))

    yield line


def _judge(run: Run, console: Console) -> bool:
    wrong = run.wrong()
    missing = len(run.wanted) - len(run.enqueuer.accepted)
    if missing:
        wrong.append(f"{missing} jobs were not enqueued")
    if not wrong:
        console.print("every job is in the state in which it should be", style="green")
        return True
    console.print(f"not as it should be: {len(wrong)}", style="red")
    for sentence in wrong[:_SHOWN]:
        console.print(f"  {sentence}", markup=False)
    return False


def _print_next_steps(stack: Stack, receiver: Receiver, console: Console) -> None:
    """Print URLs to open and commands to type."""
    report = stack.app.settings.data_dir.absolute() / "reports" / f"ledger-{datetime.now(UTC).date()}.html"
    places = {**stack.urls, "receiver": f"{receiver.url}/ok", "report": report.as_uri()}
    console.print()
    for name, place in places.items():
        console.print(f"  {name:<9} {place}", markup=False)
    console.print("\nwhat to type next, in another terminal:\n")
    for command in _next_commands(receiver):
        console.print(f"  {command}", markup=False)
    console.print("\nCtrl-C stops everything")


def _next_commands(receiver: Receiver) -> list[str]:
    celery, python = (_program(name) for name in ("celery", "python"))
    args = shlex.quote(json.dumps([f"{receiver.url}/flaky", {"event": "order.paid"}]))
    kwargs = shlex.quote(json.dumps({"secret_env": SECRET_ENV}))
    dead = "from tasks import celery_app; from celeriac import jobs; "
    dead += 'print(*(job.failure_info for job in jobs(state="failed")), sep="\\n")'
    return [
        f"{celery} -A app call webhooks.deliver --args {args} --kwargs {kwargs}",
        f"{celery} -A app status",
        f"{python} -c {shlex.quote(dead)}",
    ]


def _program(name: str) -> str:
    """How to call a program of this environment from this directory, with the settings that it needs."""
    path = Path(sys.executable).with_name(name)
    directory = os.environ.get("CELERIAC_DATA_DIR")
    setting = f"CELERIAC_DATA_DIR={shlex.quote(directory)} " if directory else ""
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{setting}{shlex.quote(str(path))}"
