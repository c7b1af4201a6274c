"""Options of a retry, decided without a server."""

from __future__ import annotations

from typing import Any

import pytest
from celery.app.task import Context

from celeriac.task.retry_options import settled


def context(**facts: Any) -> Context:
    return Context({"id": "1", "called_directly": False, **facts})


@pytest.mark.parametrize(
    ("place", "options", "priority"),
    [
        ({"priority": 0, "routing_key": "high"}, {}, 20),
        ({"priority": 0, "routing_key": "low"}, {}, 0),
        ({"priority": 25, "routing_key": "high"}, {}, None),  # Celery takes that of the message
        ({"priority": 0, "routing_key": "high"}, {"priority": 90}, 90),
        ({"priority": 0, "routing_key": "high"}, {"queue": "low"}, 0),
    ],
    ids=str,
)
def test_a_job_keeps_the_priority_of_its_queue_whatever_a_foreign_message_said(
    place: dict[str, Any], options: dict[str, Any], priority: int | None
) -> None:
    found, _ = settled(options, None, context(delivery_info=place))
    assert found.get("priority") == priority
