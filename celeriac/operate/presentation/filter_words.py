"""A filter of jobs in words: the options of ``celery -A app jobs``, the query of a page, the fields of JSON.

The words are the same in all three, so that a person may take a filter from one to the other.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any
from uuid import UUID

from celeriac.errors import BadArgument
from celeriac.ledger.reads.job_filter import Filter
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.names import NAME_LENGTH, check_text
from celeriac.operate.listing import parse_moment, prefix

#: The words of a filter, in the order in which a command shows them.
WORDS = (
    *("state", "task", "queue", "user", "schedule", "error", "worker", "version", "since", "until"),
    *("finished-since", "finished-until", "argument", "id-prefix"),
)

_TEXTS = ("task", "queue", "user", "schedule", "error", "worker", "version", "argument")


def filter_of(given: Mapping[str, Any]) -> Filter:
    """The filter for these words; one that is None does not filter, others are passed over.

    Args:
        given: texts; a moment may be a datetime or a span already.

    Raises:
        BadArgument: a word's value has no meaning. It names the option.
    """
    texts = {name: _text(name, given.get(name)) for name in _TEXTS}
    return Filter(
        state=_state(given.get("state")),
        task=texts["task"],
        queue=texts["queue"],
        user_id=texts["user"],
        schedule=texts["schedule"],
        error=texts["error"],
        argument=texts["argument"],
        worker=texts["worker"],
        version=texts["version"],
        since=moment_of("since", given.get("since")),
        until=moment_of("until", given.get("until")),
        finished_since=moment_of("finished-since", given.get("finished-since")),
        finished_until=moment_of("finished-until", given.get("finished-until")),
        ids=prefix(given["id-prefix"]) if given.get("id-prefix") is not None else None,
    )


def words_in(given: Mapping[str, str]) -> dict[str, str]:
    """The words of a filter that have a value, in their order."""
    return {word: given[word] for word in WORDS if given.get(word)}


def words_of(wanted: Filter) -> dict[str, str]:
    """The words of a filter whose moments are instants.

    >>> words_of(filter_of({"task": "mail.send", "id-prefix": "0192d3"}))
    {'task': 'mail.send', 'id-prefix': '0192d3'}
    """
    moments = {
        "since": wanted.since,
        "until": wanted.until,
        "finished-since": wanted.finished_since,
        "finished-until": wanted.finished_until,
    }
    found: dict[str, Any] = {
        "state": wanted.state,
        "task": wanted.task,
        "queue": wanted.queue,
        "user": wanted.user_id,
        "schedule": wanted.schedule,
        "error": wanted.error,
        "worker": wanted.worker,
        "version": wanted.version,
        **{word: each.isoformat() for word, each in moments.items() if isinstance(each, datetime)},
        "argument": wanted.argument,
        "id-prefix": _begin_alike(*wanted.ids) if wanted.ids else None,
    }
    return {word: str(value) for word, value in found.items() if value is not None}


def options_of(words: Mapping[str, str]) -> str:
    """The words as they are typed behind a command.

    >>> options_of({"state": "failed", "error": "no mail"})
    " --state failed --error 'no mail'"
    """
    return "".join(f" --{word} {shlex.quote(value)}" for word, value in words.items())


def _begin_alike(first: UUID, last: UUID) -> str:
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(first.hex, last.hex, strict=True))
    return "".join(digit for digit, _ in pairs)


def _text(name: str, value: str | None) -> str | None:
    """A database must be able to compare with it."""
    return check_text(f"--{name}", value, length=NAME_LENGTH) if value is not None else None


def _state(value: str | None) -> JobState | None:
    try:
        return JobState(value) if value is not None else None
    except ValueError:
        raise BadArgument("--state", f"wanted one of {', '.join(JobState)}, found {value!r:.80}") from None


def moment_of(name: str, value: str | datetime | timedelta | None) -> datetime | timedelta | None:
    """The moment or the span that an option of this name says.

    Raises:
        BadArgument: it says neither. It names the option.
    """
    if not isinstance(value, str):
        return value
    try:
        return parse_moment(value)
    except (ValueError, OverflowError):
        wanted = "wanted 90s, 15m, 2h, 3d or an ISO 8601 moment"
        raise BadArgument(f"--{name}", f"{wanted}, found {value[:80]!r}") from None
