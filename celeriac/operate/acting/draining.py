"""Drain a worker: it goes on with what it has, and draws nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.application import current_app
from celeriac.errors import BadArgument
from celeriac.operate import actions, overview
from celeriac.operate.actions import Actor

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_ANSWER = 2.0  # seconds that the worker may take


def drain(name: str, *, actor: Actor, reason: str | None = None, app: Celeriac | None = None) -> list[str]:
    """Let the worker of this node name draw from no queue any more; return those from which it drew.

    It does so until it is started anew, or told otherwise with Celery's ``control add_consumer``.

    Raises:
        BadArgument: no worker of this name lives, it draws from none, or it does not answer.
    """
    platform, said = current_app(app), actions.checked_reason(reason)
    living = [worker for worker in overview.live_workers(app=platform) if worker.hostname == name]
    if not living:
        raise BadArgument("worker", f"no worker named {name[:80]!r} lives: see `celery -A app workers`")
    queues = sorted({queue for worker in living for queue in worker.queues})
    if not queues:
        raise BadArgument("worker", f"{name[:80]!r} draws from no queue: it is drained")
    told = [_told(platform, name, queue) for queue in queues]
    if not all(told):
        raise BadArgument(
            "worker", f"{name[:80]!r} did not answer within {_ANSWER:g} s: is the broker there?"
        )
    actions.record(
        "worker drain", who=actor.who, via=actor.via, subject=name, reason=said, done=0, app=platform
    )
    return queues


def _told(app: Celeriac, name: str, queue: str) -> bool:
    """Whether the worker has answered."""
    try:
        return bool(
            app.control.cancel_consumer(queue, destination=[name], reply=True, timeout=_ANSWER, limit=1)
        )
    except app.broker_errors:
        return False
