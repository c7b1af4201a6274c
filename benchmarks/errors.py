"""The one thing that can go wrong with a benchmark: there is no figure."""

from __future__ import annotations


class NotMeasured(Exception):
    """A side, or one of its trials, gave no figure; the sentence says why."""
