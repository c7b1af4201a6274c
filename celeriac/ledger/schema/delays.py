"""How long a job may be put off, whoever asks for it."""

from __future__ import annotations

import math

#: Seconds; about 6,300 years. Added to any clock of this millennium it stays before ``columns.LATEST``.
LONGEST = 2e11


def bounded(seconds: float) -> float:
    """``seconds``, as far as the ledger's clock reaches; at once, if it is no number or in the past.

    >>> bounded(5.0), bounded(1e300), bounded(-1.0), bounded(float("nan"))
    (5.0, 200000000000.0, 0.0, 0.0)
    """
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST)
