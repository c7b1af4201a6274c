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


#: In the row of a job whose message came from a producer that does not know the ledger.
ADOPTED = "celeriac_adopted"


def new_tag() -> int:
    """A random tag that tells apart the messages of all rows that ever had the same id."""
    return getrandbits(63)


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
