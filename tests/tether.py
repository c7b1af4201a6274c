"""Turns itself into another program that dies with the process that asked for it. A script, not a module.

    python -I -S tether.py PARENT SIGNAL UID GID PROGRAM ARGUMENT…

A script, because the alternative, ``preexec_fn``, runs Python in a fork of a process with threads: it may
deadlock, and warns since Python 3.12. UID and GID are -1 for the parent's own.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, death: int, uid: int, gid: int, *program: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # before setuid, after which Python's files may be closed to it
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, which clears it. It survives exec.
        if libc.prctl(_PR_SET_PDEATHSIG, death, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit("the process that asked for this program is gone")
    for name in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python, and exec would hand that on
        signal.signal(name, signal.SIG_DFL)
    os.execv(program[0], program)


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:5]), *sys.argv[5:])
