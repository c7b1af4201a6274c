"""Coroutines that run beside jobs: their channel, their slots, their places, their interrupts."""

from __future__ import annotations

import asyncio
import threading
from uuid import uuid4

import pytest

from celeriac.task.event_loop import Interrupt, Stopped
from celeriac.worker.burst.coroutine_channel import Channel, ChildEnd
from celeriac.worker.burst.coroutine_slots import Slots
from celeriac.worker.gate.claim_ahead import Rooms
from celeriac.worker.gate.claim_book import ClaimBook
from tests.support import wait_until


class Arrived:
    def __init__(self, task: str) -> None:
        self.task = task


def runs_beside(task: object) -> bool:
    return isinstance(task, str) and task.startswith("async")


def test_messages_of_any_length_go_both_ways_and_neither_blocks_the_main_process() -> None:
    channel, got = Channel(), list[tuple[object, ...]]()
    end = ChildEnd(channel._childs)  # both ends in one process
    channel._childs.setblocking(True)
    large = "x" * 3_000_000
    assert not channel.send((1, large))  # nobody reads yet

    def answer() -> None:
        while (message := end.receive()) is not None:
            end.send(message)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    channel.send((2, "after it"))

    def arrived() -> bool:
        channel.flush()
        got.extend(channel.receive())
        return len(got) == 2

    wait_until(arrived, within=20, saying="both have come back")
    assert got == [(1, large), (2, "after it")]
    channel._mine.close()
    channel._writing.close()
    thread.join(20)
    assert not thread.is_alive()  # it has seen that the main process is gone
    channel.close()


def test_a_slot_tells_of_the_coroutine_that_was_begun_in_it_alone() -> None:
    slots = Slots(2)
    assert slots.started(1, 7) is None
    started = slots.begin(1, 7)
    assert (slots.started(1, 7), slots.started(1, 6), slots.started(0, 7)) == (started, None, None)
    slots.end(1)
    assert slots.started(1, 7) is None


def test_each_kind_of_job_is_claimed_by_its_own_places() -> None:
    arrived = [Arrived(task) for task in ("long", "long", "async_a", "long", "async_b", "async_c")]
    before = list(arrived)
    assert Rooms(1, 2).choose(arrived, runs_beside) == 3
    assert arrived == [before[0], before[2], before[4], before[1], before[3], before[5]]
    assert Rooms(0, 0).choose(arrived, runs_beside) == 0
    assert Rooms(4).choose(arrived, runs_beside) == 4  # where none runs beside others


def test_the_book_counts_coroutines_apart() -> None:
    book, one, other = ClaimBook(runs_beside), uuid4(), uuid4()
    assert (book.enter(one, "async_a"), book.enter(other, "long")) == (True, True)
    assert (book.unfinished(), book.beside()) == (0, 0)
    book.won_all([(one, 1), (other, 1)])
    assert (book.unfinished(), book.beside(), book.is_beside(one), book.is_beside(other)) == (
        1,
        1,
        True,
        False,
    )
    book.ended(one)
    assert (book.unfinished(), book.beside()) == (1, 0)
    book.leave(one, other)
    assert (book.unfinished(), book.beside()) == (0, 0)


def test_an_interrupt_waits_for_the_coroutine_and_the_stronger_one_holds() -> None:
    cancelled: list[str] = []
    interrupt = Interrupt()
    interrupt.interrupt(TimeoutError("soft"))
    interrupt.attach(lambda: cancelled.append("once"))
    assert cancelled == ["once"]
    interrupt.interrupt(Stopped(15))
    interrupt.interrupt(TimeoutError("late"))
    with pytest.raises(Stopped):
        interrupt.detach(None)  # although the coroutine has returned

    soft = Interrupt()
    soft.attach(lambda: cancelled.append("soft"))
    soft.interrupt(TimeoutError("soft"))
    soft.detach(None)  # it has returned something: that is its result
    soft.detach(ValueError())  # or raised something of its own
    with pytest.raises(TimeoutError):
        soft.detach(asyncio.CancelledError())
