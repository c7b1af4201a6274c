"""A program that enqueues one job and is killed when its row is committed and its message has not left.

Prints the job's id. Its argument is the witness's file.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))

from redis import Redis

import tests.jobs
from app.celery import app
from celeriac.ids import new_id


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    id = new_id()
    print(id, flush=True)
    Redis.lpush = die
    app.tasks[tests.jobs.witness.name].apply_async(args=(sys.argv[1], 0.02), task_id=id)
