"""A canary replay: a few jobs first, the rest only while nearly all of those that ended lately succeed.

What counts of a job is its first attempt since the replay: it succeeded, or it failed, whether another
attempt follows or not. A job that was cancelled or discarded meanwhile counts as neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from celeriac.ledger.operators.replayed_jobs import Verdicts

#: How many jobs go first, and which share of what ended lately must succeed.
FIRST, SHARE = 5, 0.95

#: How many that ended are looked back on; with fewer than the second, one failure is let pass.
_LATELY, _FEW = 100, 20

#: Jobs that may be on their way unjudged.
MOST_OPEN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is known of the jobs that were replayed. It is kept in the row of the action."""

    first: int  # how many go first
    phase: str = "first"  # first, then rest
    begun: int = 0  # jobs that were replayed
    open: tuple[UUID, ...] = ()  # of them, those that have not ended
    lately: str = ""  # how the last ones ended, the latest last: s or f
    succeeded: int = 0
    failed: int = 0

    def seen(self, verdicts: Verdicts) -> Watch:
        """The same, after a look at what is open."""
        ended = verdicts.succeeded | verdicts.failed | verdicts.gone
        outcomes = "s" * len(verdicts.succeeded) + "f" * len(verdicts.failed)
        return replace(
            self,
            open=tuple(id for id in self.open if id not in ended),
            lately=(self.lately + outcomes)[-_LATELY:],
            succeeded=self.succeeded + len(verdicts.succeeded),
            failed=self.failed + len(verdicts.failed),
        )

    def after(self, ids: Sequence[UUID]) -> Watch:
        """The same, after these were replayed."""
        return replace(self, begun=self.begun + len(ids), open=(*self.open, *ids))

    def plain(self) -> dict[str, Any]:
        """For JSON; ``of`` reads it."""
        values = {name: getattr(self, name) for name in ("first", "phase", "begun", "lately")}
        return {**values, "open": [*map(str, self.open)], "succeeded": self.succeeded, "failed": self.failed}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Watch:
        return cls(**{**values, "open": tuple(map(UUID, values["open"]))})


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now: replay up to ``limit`` jobs (0: wait), or stop with the sentence."""

    watch: Watch
    limit: int = 0
    stop: str | None = None


def decide(watch: Watch, *, batch: int) -> Step:
    """The next step.

    Args:
        batch: jobs that may be replayed at once.

    >>> decide(Watch(first=5), batch=200).limit
    5
    >>> decide(Watch(first=5, begun=5, lately="ssssf", succeeded=4, failed=1), batch=200).stop
    '1 of the first 5 jobs failed again: the rest stays as it was'
    """
    if watch.phase == "first":
        if watch.begun < watch.first:
            return Step(watch, min(batch, watch.first - watch.begun))
        if watch.open:
            return Step(watch)
        if watch.failed:
            return Step(watch, stop=f"{watch.failed} of the first {watch.begun} jobs failed again: {_REST}")
        watch = replace(watch, phase="rest")
    failed, ended = watch.lately.count("f"), len(watch.lately)
    if failed > (1 - SHARE) * max(ended, _FEW) + 1e-9:
        return Step(watch, stop=f"{failed} of the last {ended} jobs that ended failed again: {_REST}")
    return Step(watch, min(batch, MOST_OPEN - len(watch.open)))


_REST = "the rest stays as it was"
