"""A result store that does not answer is left alone, for longer each time, and forgiven when it answers."""

from __future__ import annotations

import pytest

from celeriac.task.results.store_rest import Rest, StoreRests


def test_it_is_left_alone_for_longer_after_each_failure() -> None:
    clock = 100.0
    rest, lengths = Rest(lambda: clock), []
    for _ in range(6):
        rest.check()
        began = clock
        rest.failed()
        while rest.resting:
            rest.failed()  # those that were under way: the same silence
            clock += 0.5
        lengths.append(clock - began)
    assert lengths == [2, 4, 8, 16, 30, 30]
    rest.answered()
    rest.failed()
    with pytest.raises(StoreRests):
        rest.check()
    clock += 2
    rest.check()
