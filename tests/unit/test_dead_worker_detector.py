"""Who is dead is told by a clock that nobody sets: seconds in which a heartbeat did not change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from celeriac.ledger.upkeep.rescue import Sighting
from celeriac.worker.duties.dead_worker_detector import DeadWorkerDetector

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
OTHER = UUID(int=2)
SILENCE = 12.0


def at(seconds: float | None, *, stopped: datetime | None = None) -> Sighting:
    """The other worker, whose heartbeat says so many seconds after noon; None: it has no row."""
    return Sighting(OTHER, None if seconds is None else NOON + timedelta(seconds=seconds), stopped)


class Watch:
    """A judge whose own heart beats every 3 s, and who looks every second."""

    def __init__(self) -> None:
        self.detector = DeadWorkerDetector(SILENCE)
        self.now = 1_000.0

    def watch(self, seconds: int, seen: Sighting, *, beats: bool = True) -> list[float]:
        """Look at ``seen`` for so long; when it was said to be dead, in seconds from the first look."""
        found = []
        for second in range(seconds):
            if beats and second % 3 == 0:
                self.detector.beat_written(self.now)
            if self.detector.dead([seen], self.now):
                found.append(float(second))
            self.now += 1
        return found


def test_a_worker_is_dead_when_its_heartbeat_was_seen_unchanged_for_a_full_timeout() -> None:
    assert Watch().watch(15, at(0))[0] == SILENCE


def test_however_old_a_heartbeat_looks_it_was_not_unchanged_for_long() -> None:
    """The database's clock was set a day ahead: each heartbeat is a new one all the same."""
    watch = Watch()
    watch.watch(15, at(0))
    for beat in range(20):
        assert watch.watch(3, at(beat * 3 - 86_400)) == []


def test_a_heartbeat_that_goes_back_is_one() -> None:
    watch = Watch()
    watch.watch(11, at(0))
    assert watch.watch(12, at(-60)) == []


def test_a_buried_worker_that_holds_jobs_again_is_watched_anew() -> None:
    watch = Watch()
    watch.watch(15, at(0))
    assert watch.watch(15, at(0, stopped=NOON))[0] == SILENCE


def test_a_worker_without_a_row_is_dead_after_as_long() -> None:
    assert Watch().watch(15, at(None))[0] == SILENCE


def test_one_whose_own_heartbeats_were_not_written_judges_nobody() -> None:
    watch = Watch()
    watch.watch(11, at(0))
    assert watch.watch(60, at(0), beats=False) == []
    assert watch.watch(15, at(0))[0] == SILENCE
