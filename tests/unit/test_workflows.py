"""What becomes of a chord's body that Redis has not released, and whose members have all ended."""

import json

import pytest

from celeriac.ledger.upkeep.parked import Members
from celeriac.worker.duties.workflows import Verdict, around, decide


def test_it_runs_when_all_are_completed() -> None:
    assert decide(Members(2, 2, 2, 10), size=2, old=False) is Verdict.RUN


def test_a_member_that_was_added_counts_beside_the_others() -> None:
    assert decide(Members(3, 3, 3, 10), size=2, old=False) is Verdict.RUN


def test_a_member_that_was_given_up_fails_it() -> None:
    assert decide(Members(2, 1, 1, 10), size=2, old=False) is Verdict.BROKEN


def test_a_member_whose_result_is_lost_fails_it() -> None:
    assert decide(Members(2, 2, 1, 10), size=2, old=False) is Verdict.LOST


def test_a_body_that_takes_no_results_misses_none() -> None:
    assert decide(Members(2, 2, 1, 10), size=2, old=False, immutable=True) is Verdict.RUN


def test_members_that_are_missing_are_waited_for_until_nobody_enqueues_them_any_more() -> None:
    assert decide(Members(1, 1, 1, 10), size=2, old=False) is Verdict.WAIT
    assert decide(Members(1, 1, 1, 10), size=2, old=True) is Verdict.INCOMPLETE


def test_results_that_no_message_can_hold_fail_it() -> None:
    assert decide(Members(2, 2, 2, 10**9), size=2, old=False) is Verdict.LARGE
    assert decide(Members(2, 2, 2, 10**9), size=2, old=False, immutable=True) is Verdict.RUN


@pytest.mark.parametrize("args", [[], ["own"], [[], {"a": "]"}]])
def test_what_stands_between_two_texts_is_the_first_argument(args: list[object]) -> None:
    before, behind = around([args, {"k": 1}, {"chain": None}])
    assert json.loads(f'{before}1, "b"{behind}') == [[[1, "b"], *args], {"k": 1}, {"chain": None}]
