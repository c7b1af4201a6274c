"""Real processes for tests: started on a tether, seen and signalled as a whole tree, never left behind."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple, Self, TextIO

from tests import fork_server
from tests.fork_server import Forked
from tests.support import PATIENCE, wait_until

_TETHER = Path(__file__).with_name("tether.py")
_SCRATCH = "celeriac-test-"
_MEMORY = Path("/dev/shm")
_ENOUGH = 2 << 30  # bytes
_GONE = frozenset("ZX")  # states of a process that has ended


class Account(NamedTuple):
    """Whom a process runs as."""

    uid: int
    gid: int


class Process:
    """A program with everything that it forks; used as a context manager, all of it is gone afterwards.

    It leads a process group of its own but stays in the session: Ctrl-C reaches only the tests, and should
    they be killed while it is frozen, the kernel lets the orphaned group go on, and its death signal works.

    The death signal is sent when the *thread* that started it ends: start it from one that lives long enough.
    A Python comes from a fork server, see ``fork_server.py``.

    Args:
        log: the file that gets stdout and stderr, appended.
        account: whom to run as; None for the tests' own user.
        death: the signal that it gets when the tests' process dies.
        libraries: see ``Forked``.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        account: Account | None = None,
        death: signal.Signals = signal.SIGKILL,
        libraries: tuple[str, ...] = (),
    ) -> None:
        words = [str(word) for word in argv]
        given = dict(os.environ if env is None else env)
        self._popen: subprocess.Popen[bytes] | Forked
        with log.open("ab") as output:
            if account is None and fork_server.suits(words, given):
                with open(os.devnull, "rb") as nothing:
                    files = (nothing.fileno(), output.fileno(), output.fileno())
                    self._popen = Forked(
                        words, files=files, cwd=cwd, env=given, death=death, libraries=libraries
                    )
            else:
                self._popen = _on_tether(words, output, cwd, given, account or Account(-1, -1), death)
        self.log = log

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def tree(self) -> list[int]:
        """Pids of the process, what descends from it and what is left of its group, itself first."""
        everyone = processes()
        found = [self.pid] if self.pid in everyone and self.status is None else []
        found += descendants(self.pid, everyone) if found else []
        group = (pid for pid, one in everyone.items() if (one.group, one.session) == (self.pid, os.getsid(0)))
        return found + [pid for pid in group if pid not in found]

    def children(self) -> list[int]:
        """Pids of its direct children, oldest first."""
        return sorted(pid for pid, one in processes().items() if one.parent == self.pid)

    def send(self, number: signal.Signals) -> None:
        """Signal the process alone, not its children."""
        self._popen.send_signal(number)

    def wait(self, within: float) -> int:
        """The exit status, once it has ended by itself.

        Raises:
            AssertionError: it still runs after ``within`` seconds of a quiet machine; see ``PATIENCE``.
        """
        within *= PATIENCE
        try:
            return self._popen.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"process {self.pid} still runs after {within:g} s\n{self.tail()}") from None

    def freeze(self, *, children: bool = True) -> None:
        """Stop it where it stands, with its whole tree unless told otherwise; returns when nothing moves."""
        self.send(signal.SIGSTOP)  # first, so that it forks nobody meanwhile
        targets = self.tree() if children else [self.pid]
        signal_all(targets[1:], signal.SIGSTOP)
        wait_until(
            lambda: all(one.state in "Tt" for pid, one in processes().items() if pid in targets),
            within=5,
            saying=f"process {self.pid} and its children are stopped",
        )

    def thaw(self) -> None:
        """Let a frozen tree go on, children first."""
        signal_all(reversed(self.tree()), signal.SIGCONT)

    def kill(self) -> int:
        """SIGKILL the whole tree at once; returns the exit status when nothing of it is left."""
        if self.status is None:
            self.send(signal.SIGSTOP)  # so that nothing is forked between looking and killing
        targets = self.tree()
        signal_all(targets, signal.SIGKILL)
        status = self._popen.wait(10)
        wait_until(
            lambda: not living(targets), within=10, saying=f"process {self.pid} and its children are gone"
        )
        return status

    def tail(self, lines: int = 60) -> str:
        """The end of the log, under a line that names it."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join([f"--- end of {self.log.name} ---", *text.splitlines()[-lines:]])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    typed: str = "",
    within: float = 60,
    libraries: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in a fork where that suits; its output is kept apart from its complaints.

    Args:
        typed: what it reads.
        libraries: see ``Forked``.
        within: seconds that are more than enough on a quiet machine; see ``PATIENCE``.
    """
    words = [str(word) for word in argv]
    if not fork_server.suits(words, env):
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": within * PATIENCE}
        return subprocess.run(words, cwd=cwd, env=dict(env), input=typed, **options)
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile("w+", encoding="utf-8")) for _ in range(3)]
        files[0].write(typed)
        files[0].seek(0)
        numbers = [file.fileno() for file in files]
        program = Forked(words, files=numbers, cwd=cwd, env=env, death=signal.SIGKILL, libraries=libraries)
        try:
            status = program.wait(within * PATIENCE)
        except BaseException:
            program.send_signal(signal.SIGKILL)
            program.wait(10)
            raise
        for file in files:
            file.seek(0)
        return subprocess.CompletedProcess(words, status, files[1].read(), files[2].read())


def _on_tether(
    argv: Sequence[str],
    output: IO[bytes],
    cwd: Path,
    env: Mapping[str, str],
    account: Account,
    death: signal.Signals,
) -> subprocess.Popen[bytes]:
    """Start a program by ``exec``."""
    tether = (sys.executable, "-I", "-S", _TETHER, os.getpid(), int(death), *account)
    return subprocess.Popen(
        [str(word) for word in (*tether, *argv)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=env,
        process_group=0,
    )


class Seen(NamedTuple):
    """One process, as the system lists it."""

    state: str
    parent: int
    group: int
    session: int


def processes() -> dict[int, Seen]:
    """Every process of this machine by pid, but for those that have ended and wait for their parent."""
    listed = _from_proc() if Path("/proc/self/stat").exists() else _from_ps()
    return {pid: seen for pid, seen in listed if seen.state not in _GONE}


def descendants(pid: int, everyone: Mapping[int, Seen] | None = None) -> list[int]:
    """Pids of the children of ``pid`` and of theirs."""
    everyone = processes() if everyone is None else everyone
    found = [pid]
    for parent in found:  # grows as it is walked
        found += [child for child, one in everyone.items() if one.parent == parent]
    return found[1:]


def living(pids: Iterable[int]) -> set[int]:
    """Those of ``pids`` that still run."""
    return set(pids) & processes().keys()


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal each of ``pids`` that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def scratch(name: str, *, fast: bool = False) -> Path:
    """A new directory that is removed when the tests' process ends.

    Other users may pass through it, not list it: a server that runs as somebody else finds its own there.

    Args:
        fast: in memory, where the machine has enough of it for files.
    """
    parent = _MEMORY if fast and _spacious(_MEMORY) else Path(tempfile.gettempdir())
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_scratch_root(parent, os.getpid())))
    directory.chmod(0o711)
    return directory


def _spacious(parent: Path) -> bool:
    # Containers often have 64 MB there, less than one PostgreSQL wants.
    return os.access(parent, os.W_OK | os.X_OK) and shutil.disk_usage(parent).free >= _ENOUGH


@cache
def _scratch_root(parent: Path, _owner: int) -> Path:
    _sweep(parent)
    draft = Path(tempfile.mkdtemp(prefix="celeriac-new-", dir=parent))
    draft.chmod(0o711)
    # Held for as long as this process lives: an unlocked one was left by a process that was killed.
    lock = (draft / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    root = draft.rename(draft.with_name(draft.name.replace("celeriac-new-", _SCRATCH)))
    atexit.register(_remove, root, os.getpid(), lock)
    return root


def _remove(root: Path, owner: int, lock: TextIO) -> None:
    if os.getpid() == owner:
        shutil.rmtree(root, ignore_errors=True)
    lock.close()


def _sweep(parent: Path) -> None:
    """Remove what test runs that were killed could not."""
    for root in parent.glob(f"{_SCRATCH}*"):
        try:
            with (root / "lock").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root, ignore_errors=True)
        except OSError:  # it is in use, or another user's
            continue


def _from_proc() -> Iterable[tuple[int, Seen]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        # The name, in brackets, may hold spaces and brackets itself.
        state, parent, group, session = text.rpartition(")")[2].split()[:4]
        yield int(stat.parent.name), Seen(state, int(parent), int(group), int(session))


def _from_ps() -> Iterable[tuple[int, Seen]]:
    for line in subprocess.check_output(["ps", "-axo", "pid=,stat=,ppid=,pgid="], text=True).splitlines():
        pid, state, parent, group = line.split()
        try:
            session = os.getsid(int(pid))
        except OSError:
            continue
        yield int(pid), Seen(state[0], int(parent), int(group), session)
