"""What jobs have given back is gathered for a moment, where nobody is held up by that."""

from __future__ import annotations

import pytest

from celeriac.worker.freed_permits import GATHERED, FreedPermits


def _add(freed: FreedPermits, permits: list[str]) -> None:
    freed.add(permits, enough=lambda _: 1)


def test_enough_are_taken_at_once_and_few_are_gathered() -> None:
    freed = FreedPermits()
    _add(freed, ["small:", "large:"])
    assert freed.take(100.0, enough=lambda _: 2) == ({"small:", "large:"}, None), "nothing was taken lately"
    _add(freed, ["small:", "large:"])
    taken, left = freed.take(100.0, enough={"small:": 1, "large:": 3}.__getitem__)
    assert taken == {"small:"}
    assert left == pytest.approx(GATHERED)
    _add(freed, ["large:", "large:"])
    assert freed.take(100.0, enough=lambda _: 3) == ({"large:"}, None)


def test_few_are_taken_after_a_moment() -> None:
    freed = FreedPermits()
    _add(freed, ["large:"])
    freed.take(100.0, enough=lambda _: 9)
    _add(freed, ["large:"])
    assert freed.take(100.0, enough=lambda _: 9)[0] == set()
    assert freed.take(100.0 + GATHERED, enough=lambda _: 9) == ({"large:"}, None)
    assert freed.take(101.0, enough=lambda _: 9) == (set(), None)


def test_a_look_is_asked_for_where_none_is_to_come_or_enough_are_there() -> None:
    freed = FreedPermits()
    assert freed.add(["large:"], enough=lambda _: 3), "nobody looks otherwise"
    assert not freed.add(["large:"], enough=lambda _: 3), "the look that is to come takes it"
    assert freed.add(["large:"], enough=lambda _: 3), "these are not to wait"
    freed.take(100.0, enough=lambda _: 3)
    assert freed.add(["large:"], enough=lambda _: 3), "it was taken"
    assert not freed.add([], enough=lambda _: 0)
