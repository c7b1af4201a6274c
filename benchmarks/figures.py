"""Combine the figures of several rounds: medians, spans and ratios. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

#: What one trial of one side gave.
Figures = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One of a workload's figures, as the table shows it."""

    key: str
    label: str  # with its unit
    digits: int = 0
    compared: bool = True  # whether it is shown as a ratio to the baseline too
    against: str | None = None  # the baseline's figure that the ratio is to; None: this one


@dataclass(frozen=True)
class Summary:
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary | None:
        """
        >>> Summary.of([3, 1, 2])
        Summary(median=2, low=1, high=3)
        """
        return cls(median(values), min(values), max(values)) if values else None


@dataclass
class Round:
    """One turn of every side; a side is in one of both."""

    figures: dict[str, Figures] = field(default_factory=dict)  # by side
    problems: dict[str, str] = field(default_factory=dict)  # by side


def summarise(rounds: Sequence[Round], side: str, key: str) -> Summary | None:
    """Of one figure of one side; None if it was never measured."""
    return Summary.of([one.figures[side][key] for one in rounds if key in one.figures.get(side, ())])


def ratio(
    rounds: Sequence[Round], side: str, key: str, *, to: str, against: str | None = None
) -> Summary | None:
    """Of ``side`` to the side ``to``, each round giving one: they ran one after the other.

    Args:
        against: the figure of ``to``; None for the same.

    >>> rounds = [Round({"a": {"rate": 10.0}, "b": {"rate": 15.0}}), Round({"a": {"rate": 5.0}})]
    >>> ratio(rounds, "b", "rate", to="a")
    Summary(median=1.5, low=1.5, high=1.5)
    """
    pairs = [
        (one.figures.get(side, {}).get(key), one.figures.get(to, {}).get(against or key)) for one in rounds
    ]
    return Summary.of([own / other for own, other in pairs if own is not None and other])


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of ``values`` do not exceed.

    >>> quantile([1, 2, 3, 4], 0.5), quantile([1, 2, 3, 4], 0.99)
    (2, 4)
    """
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)  # rounded up
    return ordered[max(0, int(rank) - 1)]
