"""Seeds that once failed, by the rule that was broken. Each of them is run again in every run of the tests.

A seed found by ``SIMULATION_SEED`` or by a longer run is put here in the commit that mends what it found,
with as many steps as it needs: ``"a_buried_worker_that_claims_is_rescued": ("storm", 17, 4_000)``.
A change to the simulation itself changes what a seed leads to; the entry then stays as one more fixed seed.
"""

from __future__ import annotations

FORMER_FAILURES: dict[str, tuple[str, int, int]] = {
    # Its thawed worker claims before it hears that it is dead: red when a burial is final.
    "a_buried_worker_that_claims_is_rescued": ("frost", 5, 3_000),
}
