"""Job: a value that survives being written as a dict and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.metadata.mapped import BackgroundJob
from celeriac.operate.job import Attempt, Job

_moments = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0))
_texts = st.text(max_size=8)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | _texts
    | st.binary(max_size=8)
    | _moments,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=4,
)
_ids = st.uuids().map(str)
_attempts = st.builds(
    Attempt,
    attempt=st.integers(0, 99),
    kind=_texts,
    exception_type=st.none() | _texts,
    exception=st.none() | _texts,
    frame=st.none() | _texts,
    traceback=st.none() | _texts,
    worker_id=st.none() | _ids,
    started=st.none() | _moments,
    finished=_moments,
)
_jobs = st.builds(
    Job,
    id=_ids,
    task=_texts,
    state=st.sampled_from(JobState),
    queue=_texts,
    priority=st.integers(0, 100),
    args=st.none() | st.lists(_values, max_size=3),
    kwargs=st.none() | st.dictionaries(_texts, _values, max_size=3),
    user_id=st.none() | _texts,
    idempotency_key=st.none() | _texts,
    schedule=st.none() | _texts,
    queued=_moments,
    next_attempt_after=_moments,
    dispatched=st.none() | _moments,
    started=st.none() | _moments,
    finished=st.none() | _moments,
    expires=st.none() | _moments,
    try_count=st.integers(0, 99),
    max_tries=st.integers(1, 99),
    timeout=st.none() | st.floats(0, 1e6),
    cancel_requested=st.sampled_from([None, "soft", "hard"]),
    worker_id=st.none() | _ids,
    root_id=st.none() | _ids,
    parent_id=st.none() | _ids,
    group_id=st.none() | _ids,
    result=_values,
    failure_info=st.none() | _texts,
    attempts=st.lists(_attempts, max_size=2).map(tuple),
)
quick = settings(max_examples=15, deadline=None)


def a_job(**changes: Any) -> Job:
    moment = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    empty = dict.fromkeys(Job.__dataclass_fields__)
    known = {
        "id": str(UUID(int=7)),
        "task": "mail.send",
        "state": JobState.PENDING,
        "queue": "normal",
        "priority": 10,
        "queued": moment,
        "next_attempt_after": moment,
        "try_count": 0,
        "max_tries": 5,
        "attempts": (),
    }
    return Job(**(empty | known | changes))


@quick
@given(_jobs)
def test_a_job_comes_back_from_its_dict(job: Job) -> None:
    back = Job.from_dict(job.to_dict())
    assert back == job
    assert type(back.state) is JobState


@quick
@given(_jobs)
def test_a_job_comes_back_from_its_json(job: Job) -> None:
    back = Job.from_json(job.to_json())
    assert back == job
    assert back.to_json() == job.to_json()


@quick
@given(_jobs)
def test_the_json_of_a_job_is_json(job: Job) -> None:
    assert json.loads(job.to_json())["id"] == job.id


def test_arguments_of_every_type_come_back() -> None:
    values = [b"\xff\x00", date(2030, 1, 2), time(3, 4), Decimal("1.10"), UUID(int=9), "\ud800\x00", 10**4000]
    job = a_job(args=values, kwargs={"to": values}, result=values)
    assert Job.from_json(job.to_json()) == job


def test_a_dict_holds_plain_values_only() -> None:
    attempt = Attempt(
        attempt=1,
        kind="error",
        exception_type=None,
        exception=None,
        frame=None,
        traceback=None,
        worker_id=None,
        started=None,
        finished=datetime(2030, 1, 2, tzinfo=UTC),
    )
    plain = a_job(attempts=(attempt,)).to_dict()
    assert type(plain["state"]) is str
    assert [type(each) for each in plain["attempts"]] == [dict]
    assert list(plain) == list(Job.__dataclass_fields__)


def test_a_dict_without_attempts_is_a_job_without_attempts() -> None:
    values = a_job().to_dict()
    del values["attempts"]
    assert Job.from_dict(values) == a_job()


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"state": "asleep"}, ValueError), ({"colour": "red"}, TypeError), ({"state": None}, ValueError)],
)
def test_a_dict_of_something_else_is_refused(changes: Mapping[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Job.from_dict({**a_job().to_dict(), **changes})


def test_a_job_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        a_job().state = JobState.FAILED  # type: ignore[misc]


@pytest.mark.parametrize("state", JobState)
def test_a_job_is_terminal_when_it_is_completed_failed_or_cancelled(state: JobState) -> None:
    assert a_job(state=state).is_terminal == (state in ("completed", "failed", "cancelled"))


@pytest.mark.parametrize("state", JobState)
def test_only_an_error_that_is_due_is_ready_for_retry(state: JobState) -> None:
    now = datetime.now(UTC)
    due = a_job(state=state, next_attempt_after=now - timedelta(seconds=1))
    assert due.ready_for_retry == (state is JobState.ERROR)
    assert not replace(due, next_attempt_after=now + timedelta(hours=1)).ready_for_retry


def test_the_repr_of_a_job_is_one_short_line_without_its_arguments() -> None:
    job = a_job(id=str(UUID(int=1)), task="mail.send", state=JobState.FAILED, try_count=3, max_tries=5)
    secret = replace(job, args=["hunter2"], kwargs={"password": "hunter2"}, result="hunter2")
    assert repr(secret) == f"<Job {UUID(int=1)} mail.send failed, 3 of 5 tries>"


def test_the_repr_of_a_row_is_one_short_line_without_its_payload() -> None:
    row = BackgroundJob(
        id=UUID(int=1), job_type="mail.send", state="error", try_count=1, max_tries=5, payload=b"hunter2"
    )
    assert repr(row) == f"<BackgroundJob {UUID(int=1)} mail.send error, 1 of 5 tries>"


def test_the_repr_of_a_row_that_is_not_loaded_asks_nothing() -> None:
    assert repr(BackgroundJob()) == "<BackgroundJob None None None, 0 of ? tries>"
