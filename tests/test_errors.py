"""Errors: every one of ours arrives as it was, in another process and out of the result store."""

from __future__ import annotations

import inspect
import json
import pickle

import pytest
from celery import Celery
from celery.backends.base import Backend
from celery.utils.serialization import get_pickleable_exception
from kombu.exceptions import OperationalError
from kombu.transport.redis import Transport
from kombu.utils.json import dumps, loads

from celeriac import errors
from celeriac.errors import CeleriacError

JOB = "0192d3a4-0000-7000-8000-000000000001"

EXAMPLES: list[CeleriacError] = [
    errors.CeleriacError("something of ours"),
    errors.SettingsError(["DATABASE_URL: wanted a database URL", "CELERIAC_MAX_TRIES: wanted at least 1"]),
    errors.BadAddress("wanted the number of a database, found 'x'"),
    errors.EnqueueError("not accepted"),
    errors.VersionsDoNotFit("5.7.0", "5.0.3", "Redis transport requires redis-py versions 6.1.0 or later"),
    errors.BadArgument("args[0]['to']", "set is not JSON"),
    errors.PayloadTooLarge("mail.send", 1_234_567, 1_000_000),
    errors.NoAppMade("mail.send"),
    errors.UnknownTask("mail.sent", "mail.send"),
    errors.UnknownTask("mail.sent"),
    errors.LedgerUnavailable("connection refused"),
    errors.LedgerUnfit("connection refused"),
    errors.KeyBusy("mail.send:0a1b", 0, 1600),
    errors.KeyBusy("mail.send:0a1b", 999, 1600),
    errors.DuplicateJob("mail.send:0a1b", JOB),
    errors.DuplicateJob("mail.send:0a1b", JOB, "it is not replayed"),
    errors.EnqueueUncertain(JOB),
    errors.AnotherDatabase("postgresql://localhost/other"),
    errors.AttemptTaken(JOB, 3),
    errors.NotCommitted(JOB),
    errors.ResultLost(JOB),
    errors.NotSigned("its body is not signed but application/json"),
    errors.JobNotFound(JOB),
    errors.AmbiguousId("0192", [JOB, JOB]),
    errors.GroupNotFound("0a1b2c3d"),
    errors.EmbeddedServerError("no valkey-server was found"),
    errors.StackRunning(".data"),
    errors.ServiceFailed("worker", "it ended with 1", ["one line", "another"]),
    errors.ServiceFailed("worker", "it ended with 1"),
    errors.FlowerExposed("0.0.0.0"),  # nothing is bound to it
    errors.FlowerMissing(),
    errors.MigrationNeeded(None, "0001"),
    errors.MigrationNeeded("0000", "0001"),
    errors.LedgerTooNew("0012", "0009"),
    errors.MigrationBlocked("0004", 600, "pid 77 (psql, idle in transaction, 900 s)"),
    errors.MigrationBlocked(None, 600, "somebody who is gone by now"),
    errors.MigrationRefused("the database has a table background_jobs that is not the ledger's"),
    errors.TaskExited("SystemExit", "3"),
    errors.InvalidSchedule("nightly", ["timezone: wanted a time zone", "cron: wanted five fields"]),
    errors.StaticSchedule("nightly", ["it is static"]),
    errors.ScheduleNotFound("nightly", "nightly report"),
    errors.ScheduleNotFound("nightly"),
    errors.UnreadableError("mail.Broken", "(its text cannot be read)"),
]
every_error = pytest.mark.parametrize(
    "error", EXAMPLES, ids=lambda error: f"{type(error).__name__}{error.args}"
)


def classes() -> set[type[BaseException]]:
    """Every exception that is defined in ``celeriac.errors``."""
    found = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    return {
        value for value in found if issubclass(value, BaseException) and value.__module__ == "celeriac.errors"
    }


def same(found: object, error: CeleriacError) -> bool:
    if type(found) is not type(error):
        return False
    assert isinstance(found, CeleriacError)
    return (str(found), [*found.args]) == (str(error), [*error.args])


def test_every_class_has_an_example() -> None:
    missing = {kind.__name__ for kind in classes()} - {type(error).__name__ for error in EXAMPLES}
    assert not missing, f"add an example of {', '.join(missing)} to EXAMPLES"


def test_every_class_is_in_the_one_tree() -> None:
    assert {kind for kind in classes() if not issubclass(kind, CeleriacError)} == set()


@every_error
def test_an_error_survives_pickling(error: CeleriacError) -> None:
    assert same(pickle.loads(pickle.dumps(error)), error)
    assert same(pickle.loads(pickle.dumps(get_pickleable_exception(error))), error)


@every_error
def test_an_error_survives_celerys_result_store(error: CeleriacError) -> None:
    backend = Backend(app=Celery(set_as_current=False), serializer="json")
    stored = loads(dumps(backend.prepare_exception(error)))
    assert same(backend.exception_to_python(stored), error)


@every_error
def test_an_errors_fields_are_plain_and_few(error: CeleriacError) -> None:
    """What a job's arguments are made of has no place in an error: it is logged, stored and shown."""
    assert len(json.dumps(error.args)) < 300
    for value in error.args:
        assert value is None or type(value) in (str, int) or {*map(type, value)} <= {str}


@every_error
def test_an_error_is_a_sentence(error: CeleriacError) -> None:
    sentence = str(error)
    assert sentence
    assert not sentence.endswith(".")
    assert "\n" not in sentence or any(isinstance(value, list) for value in error.args)


def test_an_error_says_what_was_wanted() -> None:
    assert str(errors.BadArgument("eta", "wanted a datetime, found 7")) == "eta: wanted a datetime, found 7"
    assert str(errors.UnknownTask("mail.sent", "mail.send")) == (
        "no task is named 'mail.sent'; did you mean 'mail.send'?"
    )
    too_large = str(errors.PayloadTooLarge("mail.send", 1_234_567, 1_000_000))
    assert "1,234,567 bytes" in too_large
    assert "1,000,000" in too_large
    assert "celery -A app db upgrade" in str(errors.MigrationNeeded(None, "0001"))
    assert str(errors.SettingsError(["A: wrong", "B: wrong"])).splitlines()[1:] == [
        "  - A: wrong",
        "  - B: wrong",
    ]


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.BadArgument, ValueError),
        (errors.PayloadTooLarge, ValueError),
        (errors.UnknownTask, LookupError),
        (errors.JobNotFound, LookupError),
        (errors.InvalidSchedule, ValueError),
        (errors.ScheduleNotFound, LookupError),
    ],
)
def test_an_error_is_caught_as_pythons_own_too(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("kind", sorted(classes(), key=lambda kind: kind.__name__))
def test_no_error_is_taken_for_one_of_the_broker(kind: type[Exception]) -> None:
    """On its way out of a publish, kombu would rename it to its own OperationalError."""
    connection_errors = Transport.connection_errors + Transport.channel_errors
    assert not issubclass(kind, (OSError, OperationalError, *connection_errors))


def test_a_refusal_is_told_from_an_uncertainty() -> None:
    """Whoever catches ``EnqueueError`` to enqueue again under another id must not catch this one."""
    assert not issubclass(errors.EnqueueUncertain, errors.EnqueueError)
    assert {kind for kind in classes() if issubclass(kind, errors.EnqueueError)} == {
        errors.EnqueueError,
        errors.BadArgument,
        errors.PayloadTooLarge,
        errors.NoAppMade,
        errors.UnknownTask,
        errors.LedgerUnavailable,
        errors.LedgerUnfit,
        errors.KeyBusy,
        errors.DuplicateJob,
        errors.VersionsDoNotFit,
    }
