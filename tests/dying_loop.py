"""A worker whose event loop dies of an exception when ``tests.sleep`` has begun. Given to it with ``-I``."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready
from celery.worker import state

import tests.jobs  # noqa: F401


@worker_ready.connect
def die_soon(sender: Any, **_: Any) -> None:
    sender.hub.call_repeatedly(0.05, die)


def die() -> None:
    # Of the exceptions of a timer, kombu's loop lets this one through.
    assert "tests.sleep" not in {request.name for request in state.active_requests}, "on purpose"
