"""What a turn of the ledger thread calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.writes.claims import Message
from celeriac.task.results.carried import CarriedResult
from celeriac.worker.attempt_report import Freed


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCallbacks:
    """What a turn calls, from the ledger thread.

    Attributes:
        hand_over: takes the messages of jobs that were won, in order.
        drop: takes deliveries that do not run.
        fetch_results: reads results from the result store, as JSON, by their task ids; lost ones are missing.
            None: no return value is kept.
        on_change: called when a turn made rows that the dispatcher must send.
        on_freed: called with what jobs that have ended, or do not start, mean for limits.
        on_followed: called with jobs whose attempts ended, and which others may follow.
        store_results: takes results that were carried, by their task ids, when they are in their rows.
        known_limits: the limits as they were read last, by name.
        on_admitted: called with the messages of jobs that have got permits; they are to be sent.
        fetch_states: reads Celery's states of jobs from the result store; what it does not know is missing.
    """

    hand_over: Callable[[list[Any]], None]
    drop: Callable[[list[Any]], None]
    fetch_results: Callable[[Mapping[UUID, str]], dict[UUID, str]] | None
    on_change: Callable[[], None]
    on_freed: Callable[[Freed], None] = lambda freed: None
    on_followed: Callable[[Sequence[UUID]], None] = lambda jobs: None
    store_results: Callable[[Sequence[tuple[str, CarriedResult]]], None] = lambda results: None
    known_limits: Callable[[], Mapping[str, KnownLimit]] = dict
    on_admitted: Callable[[Sequence[Message]], None] = lambda messages: None
    fetch_states: Callable[[Mapping[UUID, str]], Mapping[UUID, str]] = lambda _: {}
