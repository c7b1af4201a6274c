"""The longest delay of a job."""

from __future__ import annotations

import math

#: Seconds, about 6,300 years. The current time plus this is still before ``columns.LATEST``.
LONGEST = 2e11


def bounded(seconds: float) -> float:
    """``seconds``, between 0 and ``LONGEST``; 0 if it is no number.

    >>> bounded(5.0), bounded(1e300), bounded(-1.0), bounded(float("nan"))
    (5.0, 200000000000.0, 0.0, 0.0)
    """
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST)
