"""``python -m benchmarks.many_workers N COMMAND …``: N workers of a system whose worker is one process.

``{number}`` in a word is each one's own.

Standard library only: it runs in every side's environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def main() -> None:
    """Stop all of them when told to, or as soon as one of them ends."""
    number, *argv = sys.argv[1:]
    workers = [_started(argv, each) for each in range(int(number))]

    def stop(*_: object) -> None:
        for worker in workers:
            worker.terminate()

    signal.signal(signal.SIGTERM, stop)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # the first, left to be waited for
    stop()
    sys.exit(max(abs(worker.wait()) for worker in workers))


def _started(argv: list[str], number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([word.replace("{number}", str(number)) for word in argv])


if __name__ == "__main__":
    main()
