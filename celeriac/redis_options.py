"""What Celery, its result store and redbeat are told of the servers in Redis, beside their addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celeriac.settings import Settings

#: Before the names of redbeat's keys, after the prefix of all.
_REDBEAT = "celeriac:redbeat:"


def needed(settings: Settings, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """What the platform does not work without.

    Args:
        theirs: what the team has set.
    """
    return {
        "redbeat_key_prefix": settings.prefix + _REDBEAT,
        "result_backend_transport_options": _of_results(settings, theirs),
    }


def _of_results(settings: Settings, theirs: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(theirs.get("result_backend_transport_options") or {})
    return options | ({"global_keyprefix": settings.prefix} if settings.prefix else {})
