"""Names of the headers that are ours, and what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from random import getrandbits
from typing import Any

#: What the ledger says of a message's attempt.
STAMP = "celeriac"

#: Properties of a message, which a row has no other place for.
PROPERTIES = "celeriac_properties"

#: Those that a call may give.
CARRIED = ("app_id", "correlation_id", "message_id", "reply_to")

#: Of a row that is the body of a chord and was not given results: how many members it waits for.
CHORD = "celeriac_chord"


def new_tag() -> int:
    """A message tag: what tells one message of a job from every other that a row of its id has or had."""
    return getrandbits(63)


def carried(headers: Mapping[str, Any]) -> dict[str, str]:
    """The properties that ``headers`` carry."""
    found = headers.get(PROPERTIES)
    return {name: found[name] for name in CARRIED if name in found} if isinstance(found, dict) else {}
