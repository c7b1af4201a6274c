"""Up to which moment a queue's messages must have been delivered."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from celeriac.ledger.writes.claims import Claimed
from celeriac.worker.watermarks import Watermarks

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def claimed(queue: str, after: float, *, waited: float = 0.0) -> Claimed:
    moment = NOON + timedelta(seconds=after)
    return Claimed(UUID(int=1), 1, 5, 0, 1, queue, moment, False, timedelta(seconds=waited))


def test_nothing_is_known_before_a_claim_is_a_grace_old() -> None:
    marks = Watermarks(grace=60)
    marks.claimed([claimed("low", 0)])
    assert marks.reached("low") is None


def test_the_latest_message_of_a_batch_counts_for_its_queue_alone() -> None:
    marks = Watermarks(grace=0)
    marks.claimed([claimed("low", 5), claimed("low", 2), claimed("high", 9)])
    assert marks.reached("low") == NOON + timedelta(seconds=5)
    assert marks.reached("high") == NOON + timedelta(seconds=9)
    assert marks.reached("normal") is None


def test_a_mark_never_goes_back() -> None:
    marks = Watermarks(grace=0)
    marks.claimed([claimed("low", 5)])
    assert marks.reached("low") == NOON + timedelta(seconds=5)
    marks.claimed([claimed("low", 1, waited=5)])
    assert marks.reached("low") == NOON + timedelta(seconds=5)


def test_marks_that_lie_ahead_of_the_database_s_clock_are_forgotten() -> None:
    """It was set back; what is sent from now on is not older than what was claimed before."""
    marks = Watermarks(grace=0)
    marks.claimed([claimed("low", 60), claimed("high", 3)])
    assert marks.reached("low") == NOON + timedelta(seconds=60)
    marks.claimed([claimed("high", 4, waited=1)])
    assert marks.reached("low") is None
    assert marks.reached("high") == NOON + timedelta(seconds=3)
