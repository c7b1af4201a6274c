"""A value that pages share is read less often the longer its read takes."""

from __future__ import annotations

import time

from celeriac.console.shared import Shared
from tests.support import wait_until


def test_what_takes_long_is_read_less_often() -> None:
    reads: list[float] = []

    def read() -> int:
        reads.append(time.monotonic())
        wait_until(lambda: time.monotonic() - reads[-1] > 0.05, within=5, saying="it has taken its time")
        return len(reads)

    shared = Shared(read, every=0.0, share=0.1)
    assert shared.get(wait=5) == 1
    wait_until(lambda: shared.get(wait=5) == 2, within=60, saying="it is read again")
    shared.close()
    assert reads[1] - reads[0] >= 0.05 / 0.1
