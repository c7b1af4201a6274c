"""The names of our message headers, and their contents."""

from __future__ import annotations

from collections.abc import Mapping
from random import getrandbits
from typing import Any

#: Holds the attempt's number, the dispatch count and the tag of a message.
STAMP = "celeriac"

#: Holds AMQP properties of a message for which a row has no column.
PROPERTIES = "celeriac_properties"

#: The properties that a call may set.
CARRIED = ("app_id", "correlation_id", "message_id", "reply_to")

#: In the row of a chord's body that waits for results: the number of its members.
CHORD = "celeriac_chord"

#: In a message of another producer that was tried there before: how many times. Its retries go on from there.
RETRIED = "celeriac_retried"


#: In the message of a job with limits: the permits that it takes, as names and weights.
PERMITS = "celeriac_permits"

#: In the message of a job that is unique: its key and the rule.
UNIQUE = "celeriac_unique"

#: In the message of a job that takes the result of another one: that one's Celery task id.
FOLLOWS = "celeriac_follows"

#: In the row of a job whose key is not decided yet: the seconds or the moment after which it may begin.
DUE = "celeriac_due"

#: In the row of a unique job that runs what a later call says: when that call was made.
CALLED = "celeriac_called"

#: In the row of a job whose message came from a producer that does not know the ledger.
ADOPTED = "celeriac_adopted"


def new_tag() -> int:
    """A random tag that tells apart the messages of all rows that ever had the same id."""
    return getrandbits(63)


def task_id(headers: Mapping[str, Any], job: object) -> str:
    """The Celery task id of the row ``job``: the text in its headers, which need not be a UUID."""
    found = headers.get("id")
    return found if isinstance(found, str) else str(job)


def other_task_id(named: object, job: object) -> str | None:
    """``named``, the task id of the row ``job``, where it is another text than the row's id.

    >>> other_task_id("order-7", "0192d3a4-0000-7000-8000-000000000000")
    'order-7'
    """
    return named if isinstance(named, str) and named != str(job) else None


def carried(headers: Mapping[str, Any]) -> dict[str, str]:
    """The properties that ``headers`` carry."""
    found = headers.get(PROPERTIES)
    return {name: found[name] for name in CARRIED if name in found} if isinstance(found, dict) else {}


def retried(headers: Mapping[str, Any]) -> int:
    """How many times the job was tried before this ledger had it.

    >>> retried({}), retried({RETRIED: 2}), retried({RETRIED: "x"})
    (0, 2, 0)
    """
    found = headers.get(RETRIED)
    return found if isinstance(found, int) and found > 0 else 0
