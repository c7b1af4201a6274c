"""What stands out of the figures of a queue, in words."""

from __future__ import annotations

from datetime import timedelta

from celeriac.display import counted
from celeriac.operate.overview import QueueStatus

#: A message that was sent and is on its way to a worker has left the broker for so long, at most.
_ON_ITS_WAY = timedelta(seconds=10)


def in_words(queue: QueueStatus) -> list[str]:
    """What a figure of the queue means that is not what one expects; empty: nothing is unusual."""
    found = []
    if queue.held:
        found.append(f"{counted(queue.held, 'job')} held by a limit, or by the pause of a task")
    drift = queue.drift or 0
    late = queue.oldest is not None and queue.oldest > _ON_ITS_WAY
    if drift > 0 and queue.in_broker == 0 and late:
        found.append(
            f"the broker has none of {counted(drift, 'message')}: what no worker has taken is sent again"
        )
    elif drift > 0:
        found.append(f"{counted(drift, 'message')} on the way to a worker")
    elif drift < 0:
        found.append(f"{-drift:,} {'copy' if drift == -1 else 'copies'} in the broker: no job runs twice")
    return found
