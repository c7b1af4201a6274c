"""Start a program that ends when its parent process ends, in a process group of its own.

This file is also run as a script: it prepares the new process and then becomes the program. The alternative,
``preexec_fn``, runs Python in a fork of a process with threads. That may deadlock, and warns since Python
3.12. Only Linux can signal a program when its parent dies. Elsewhere it outlives a parent killed by SIGKILL.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

_PR_SET_PDEATHSIG = 1


def spawn(
    argv: Sequence[str],
    *,
    when_orphaned: signal.Signals = signal.SIGKILL,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``argv``; its output, both streams in one, is a pipe. Ctrl-C in the terminal does not reach it.

    The kernel sends ``when_orphaned`` when the *thread* that called this ends: call it from the main thread.
    """
    wrapper = (sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(when_orphaned)))
    return subprocess.Popen(
        [*wrapper, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=None if env is None else dict(env),
        process_group=0,
    )


def _become(parent: int, when_orphaned: int, argv: list[str]) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, when_orphaned, 0, 0, 0):  # survives exec
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before prctl took effect
        sys.exit("the process that asked for this program is gone")
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would inherit that
        signal.signal(ignored, signal.SIG_DFL)
    os.execv(argv[0], argv)  # noqa: S606  # there is no shell in between, as the rule wants


if __name__ == "__main__":
    _become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
