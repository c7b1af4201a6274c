"""What may be typed behind the words of a filter: values of the ledger, and those that the app knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.application import current_app
from celeriac.ledger.reads import known_values as ledger

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Values of one word, at most.
MOST = 200


def known_values(*, app: Celeriac | None = None) -> dict[str, list[str]]:
    """Values by the word: task, queue, user, schedule, worker, version; the first ones by the alphabet."""
    platform = current_app(app)
    with platform.database.reading() as connection:
        found = ledger.known_values(connection, most=MOST)
    queues = platform.amqp.queues
    lists = {each for lane in queues.declared_lanes() for each in queues.lanes.lists(lane)}
    tasks = {name for name in platform.tasks if not name.startswith("celery.")}
    for word, more in (("queue", lists), ("task", tasks)):
        found[word] = sorted({*found[word], *more})[:MOST]
    return found
