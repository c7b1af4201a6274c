"""What a page says of a queue besides its figures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from celeriac.operate.overview import QueueStatus
from celeriac.operate.presentation.queue_words import in_words

LONG, SHORT = timedelta(minutes=1), timedelta(seconds=1)


def queue(**values: Any) -> QueueStatus:
    nothing = dict.fromkeys(("due", "later", "parked", "running", "accepted", "completed", "failed"), 0)
    given = {"name": "normal", "lane": "", "level": "normal", "oldest": None, "sent": 0, "in_broker": 0}
    return QueueStatus(**{**nothing, **given, "consumers": 1, **values})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, []),
        ({"sent": 1, "in_broker": None}, []),
        ({"sent": 1, "oldest": SHORT}, ["1 message on the way to a worker"]),
        ({"sent": 12, "in_broker": 2, "oldest": LONG}, ["10 messages on the way to a worker"]),
        (
            {"sent": 2, "oldest": LONG},
            ["the broker has none of 2 messages: what no worker has taken is sent again"],
        ),
        ({"in_broker": 1}, ["1 copy in the broker: no job runs twice"]),
        ({"in_broker": 2_000}, ["2,000 copies in the broker: no job runs twice"]),
        ({"held": 1}, ["1 job held by a limit, or by the pause of a task"]),
        (
            {"held": 2, "sent": 1},
            ["2 jobs held by a limit, or by the pause of a task", "1 message on the way to a worker"],
        ),
    ],
)
def test_what_is_unusual_is_said(values: dict[str, Any], words: list[str]) -> None:
    assert in_words(queue(**values)) == words
