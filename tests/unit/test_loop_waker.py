"""Another thread interrupts the event loop's sleep, whatever kombu is installed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from kombu.asynchronous.hub import Hub

from celeriac.worker.pool.loop_waker import LoopWaker

CALLS = 10  # each would wait for a second


@pytest.fixture
def hub() -> Iterator[Any]:
    """A loop whose broker is silent: without anything to watch it looks more often."""
    reading, writing = os.pipe()
    hub = Hub()
    hub.add_reader(reading, list)
    with closing(hub):
        yield hub
    os.close(reading)
    os.close(writing)


def seconds_of_calls(hub: Any, wake: Any) -> float:
    """How long the calls of another thread take, each of which is made when the one before has run."""
    ran, began = threading.Semaphore(1), time.monotonic()
    left = list(range(CALLS))

    def call() -> None:
        for _ in range(CALLS):
            ran.acquire(timeout=30)
            hub.call_soon(run)
            wake()

    def run() -> None:
        left.pop()
        ran.release()

    caller = threading.Thread(target=call)
    caller.start()
    while left and time.monotonic() - began < 60:
        next(hub.loop)
    caller.join(60)
    return time.monotonic() - began


def test_a_call_of_another_thread_does_not_wait(hub: Any) -> None:
    waker = LoopWaker.for_hub(hub)
    if waker is None:  # kombu's own
        assert seconds_of_calls(hub, lambda: None) < CALLS / 2
        return
    with closing(waker):
        waker.watch(hub)
        assert seconds_of_calls(hub, waker.wake) < CALLS / 2


def test_a_waker_that_is_full_or_closed_harms_nobody(hub: Any) -> None:
    waker = LoopWaker()
    waker.watch(hub)
    for _ in range(100_000):
        waker.wake()
    assert seconds_of_calls(hub, waker.wake) < 60
    waker.close()
    waker.wake()


def test_where_no_loop_is_none_is_woken() -> None:
    assert LoopWaker.for_hub(None) is None
