"""Claimed jobs reach the pool in the order of their claims; the hub keeps no order of its own."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from typing import Any

import pytest
from kombu.asynchronous import Hub

from celeriac.worker.consumer import Consumer


def test_two_turns_before_the_event_loop_looks_are_handed_on_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed: list[Any] = []
    monkeypatch.setattr(Consumer, "_into_the_pool", lambda self, messages: handed.extend(messages))
    with closing(Hub()) as hub:
        consumer: Any = object.__new__(Consumer)
        consumer.hub, consumer._won = hub, deque()
        for number in range(50):
            consumer._winners([2 * number, 2 * number + 1])
        hub.run_once()
    assert handed == list(range(100))
