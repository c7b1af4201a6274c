"""What a read costs is the time for which its thread reads the ledger."""

from __future__ import annotations

import threading
import time

from celeriac.console.budget import Budget
from celeriac.console.reading import DatabaseTime
from celeriac.console.shared import Shared
from tests.support import wait_until


def spend(seconds: float) -> None:
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > seconds, within=60, saying="time has passed")


def test_the_clock_goes_while_its_own_thread_reads() -> None:
    clock = DatabaseTime()
    spend(0.02)
    assert clock() == 0
    with clock.going():
        spend(0.02)
    read = clock()
    assert read >= 0.02
    others: list[float] = []
    thread = threading.Thread(target=lambda: others.append(clock()))
    thread.start()
    thread.join(60)
    assert (others, clock()) == ([0.0], read)


def test_a_read_within_a_read_is_counted_once() -> None:
    clock = DatabaseTime()
    began = time.monotonic()
    with clock.going():
        with clock.going():
            spend(0.05)
        assert clock() == 0, "it is told when the whole read has ended"
    assert 0.05 <= clock() <= time.monotonic() - began


def test_a_value_that_costs_the_database_nothing_is_read_as_often_as_it_wants() -> None:
    def read() -> int:
        reads.append(len(reads))
        spend(0.02)
        return len(reads)

    reads: list[int] = []
    shared = Shared(read, every=0.0, budget=Budget(1e-6, clock=DatabaseTime()))  # else once in minutes
    wait_until(lambda: shared.get(wait=60) >= 3, within=50, saying="it is read again and again")
    shared.close()
    assert shared.cost == 0
