"""The error of a benchmark: a measurement gave no figure."""

from __future__ import annotations


class NotMeasured(Exception):
    """A side, or one of its trials, gave no figure; the sentence says why."""
