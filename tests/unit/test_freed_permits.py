"""What jobs have given back is gathered for a moment, where nobody is held up by that."""

from __future__ import annotations

import pytest

from celeriac.worker.freed_permits import GATHERED, FreedPermits


def test_enough_are_taken_at_once_and_few_are_gathered() -> None:
    freed = FreedPermits()
    freed.add(["small:", "large:"])
    assert freed.take(100.0, enough=lambda _: 2) == ({"small:", "large:"}, None), "nothing was taken lately"
    freed.add(["small:", "large:"])
    taken, left = freed.take(100.0, enough={"small:": 1, "large:": 3}.__getitem__)
    assert taken == {"small:"}
    assert left == pytest.approx(GATHERED)
    freed.add(["large:", "large:"])
    assert freed.take(100.0, enough=lambda _: 3) == ({"large:"}, None)


def test_few_are_taken_after_a_moment() -> None:
    freed = FreedPermits()
    freed.add(["large:"])
    freed.take(100.0, enough=lambda _: 9)
    freed.add(["large:"])
    assert freed.take(100.0, enough=lambda _: 9)[0] == set()
    assert freed.take(100.0 + GATHERED, enough=lambda _: 9) == ({"large:"}, None)
    assert freed.take(101.0, enough=lambda _: 9) == (set(), None)
