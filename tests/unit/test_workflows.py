"""What becomes of a chord's body that Redis has not released."""

from uuid import UUID

from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.upkeep.parked import Member
from celeriac.worker.duties.workflows import decide_chord


def member(
    index: int, state: JobState = JobState.COMPLETED, result: str | None = "1", settled: bool = True
) -> Member:
    return Member(UUID(int=index + 1), state, result, {"group_index": index}, settled)


def test_it_waits_while_a_member_may_still_release_it() -> None:
    members = [member(0), member(1, JobState.RUNNING, None, settled=False)]
    assert decide_chord(members, size=2, old=True) == (None, None)


def test_it_runs_with_the_results_in_the_order_of_the_group() -> None:
    members = [member(1, result='"b"'), member(0, result='"a"')]
    assert decide_chord(members, size=2, old=False) == (['"a"', '"b"'], None)


def test_a_member_that_was_given_up_fails_it() -> None:
    results, reason = decide_chord([member(0), member(1, JobState.FAILED, None)], size=2, old=False)
    assert results is None
    assert reason == f"dependency {UUID(int=2)} is failed"


def test_a_member_whose_result_is_lost_fails_it() -> None:
    results, reason = decide_chord([member(0), member(1, result=None)], size=2, old=False)
    assert results is None
    assert reason == f"the result of dependency {UUID(int=2)} is lost"


def test_a_body_that_takes_no_results_misses_none() -> None:
    results, reason = decide_chord([member(0), member(1, result=None)], size=2, old=False, immutable=True)
    assert results is not None
    assert reason is None


def test_members_that_are_missing_are_waited_for_until_nobody_enqueues_them_any_more() -> None:
    assert decide_chord([member(0)], size=2, old=False) == (None, None)
    assert decide_chord([member(0)], size=2, old=True) == (None, "1 of 2 dependencies were enqueued")
