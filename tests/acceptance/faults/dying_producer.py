"""A program that enqueues one job and is killed when its row is committed and its message has not left.

Prints the job's id. Its argument is the witness's file.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path.cwd()))

from redis.connection import AbstractConnection

import tests.jobs
from app.celery import app
from celeriac.ids import new_id

_send = AbstractConnection.send_command


def send_or_die(connection: Any, *words: Any, **options: Any) -> None:
    """In place of what writes a command to the broker."""
    if words[0] == "LPUSH":
        os.kill(os.getpid(), signal.SIGKILL)
    _send(connection, *words, **options)


if __name__ == "__main__":
    id = new_id()
    print(id, flush=True)
    AbstractConnection.send_command = send_or_die
    app.tasks[tests.jobs.witness.name].apply_async(args=(sys.argv[1], 0.02), task_id=id)
