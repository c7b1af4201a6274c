"""Deliveries: anybody can push anything into a queue; what it is is decided without ever raising."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kombu import Connection

from celeriac.broker import signing
from celeriac.broker.message import Message, parse
from celeriac.headers import PROPERTIES, RETRIED, STAMP
from celeriac.ids import parse_row_id
from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.writes.claims import Claimed
from celeriac.ledger.writes.claims import Message as Row
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.quarantine import Unreadable
from celeriac.names import NAME_LENGTH
from celeriac.settings.platform import Settings
from celeriac.worker.gate.deliveries import Delivery, read, stamped
from tests.signers import Signer, own_serializers, signer

WORKER = UUID(int=7)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
JOB = UUID("0192d3a4-0000-7000-8000-000000000001")
OTHER = UUID("0192d3a4-0000-7000-8000-000000000002")
BODY = '[["x"], {"to": 1}, {"callbacks": null}]'
TASKS = {"mail.send"}
DISPATCH = {STAMP: {"dispatch": 3}}


def letter(
    text: str = BODY,
    /,
    *,
    headers: dict[str, Any] | None = None,
    properties: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """What a producer with protocol 2 leaves in a queue's list, with other ``fields`` where given."""
    known = {
        "body_encoding": "base64",
        "delivery_tag": "tag",
        "delivery_info": {"exchange": "", "routing_key": "high"},
        "correlation_id": str(JOB),
    }
    plain = {
        "body": base64.b64encode(text.encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"id": str(JOB), "task": "mail.send"} | (headers or {}),
        "properties": known | (properties or {}),
    }
    return plain | fields


def nested(levels: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(levels):
        made = [made]
    return made


@cache
def channel() -> Any:
    """A channel that decodes as every channel does."""
    return Connection("memory://").channel()


def arrived(item: Any, queue: str = "high") -> Message:
    """The message that a worker makes of an item in a queue's list."""
    raw = item if isinstance(item, bytes) else json.dumps(item).encode()
    message = Message(parse(raw, queue), channel=channel())
    message.accept = {"application/json"}
    return message


def found(item: Any) -> Delivery | Unreadable:
    return read(arrived(item), TASKS, max_tries=5)


def delivery(item: Any) -> Delivery:
    what = found(item)
    assert isinstance(what, Delivery), what
    return what


def adopted(item: Any) -> NewJob:
    job = delivery(item).adopted
    assert job is not None
    return job


def unreadable(item: Any) -> Unreadable:
    what = found(item)
    assert isinstance(what, Unreadable), what
    return what


# One of ours


def test_a_message_of_ours_names_its_job_and_its_dispatch() -> None:
    what = delivery(letter(headers=DISPATCH))
    assert (what.job, what.dispatch, what.known, what.adopted) == (JOB, 3, True, None)


def test_an_id_that_is_no_uuid_names_the_row_that_follows_from_it() -> None:
    named = parse_row_id("order-7")
    assert delivery(letter(headers=DISPATCH | {"id": "order-7"})).job == named
    made = adopted(
        letter(headers={"id": "order-7", "root_id": "order-6"}, properties={"correlation_id": "order-7"})
    )
    assert (made.id, made.root_id, made.headers["id"]) == (named, parse_row_id("order-6"), "order-7")
    assert PROPERTIES not in made.headers  # its correlation id is that of every message
    buried = unreadable(letter("[1]", headers={"id": "order-7"}))
    assert (buried.id, buried.task_id) == (named, "order-7")


def test_a_task_that_this_worker_does_not_know_is_told() -> None:
    assert not delivery(letter(headers=DISPATCH | {"task": "mail.recall"})).known
    assert not delivery(letter(headers={"task": "mail.recall"})).known


@pytest.mark.parametrize("damage", [{"properties": {"body_encoding": "rot13"}}, {"body": [7]}])
def test_a_damaged_copy_of_ours_counts_as_old_so_that_the_row_has_the_word(damage: dict[str, Any]) -> None:
    what = delivery(letter(headers=DISPATCH, **damage))
    assert (what.job, what.dispatch) == (JOB, -1)


# A foreign one


@pytest.mark.parametrize("stamp", [None, "x", {}, {"dispatch": "3"}, {"dispatch": None}, [3]])
def test_a_message_without_our_stamp_is_adopted(stamp: object) -> None:
    job = adopted(letter(headers={STAMP: stamp}))
    assert STAMP not in job.headers


def test_a_foreign_message_becomes_a_row() -> None:
    headers = {
        "root_id": str(OTHER),
        "parent_id": str(OTHER),
        "group": str(OTHER),
        "lang": "py",
        "retries": 0,
    }
    assert delivery(letter(headers=headers)).dispatch is None
    job = adopted(letter(headers=headers))
    assert (job.id, job.job_type, job.queue, job.priority, job.max_tries) == (JOB, "mail.send", "high", 20, 5)
    assert (job.root_id, job.parent_id, job.group_id) == (OTHER, OTHER, OTHER)
    assert (job.payload, job.content_type, job.content_encoding) == (
        BODY.encode(),
        "application/json",
        "utf-8",
    )
    assert job.headers["lang"] == "py"
    assert job.headers["retries"] == 0
    assert (job.not_before, job.expires) == (None, None)


def test_the_times_of_a_foreign_message_move_into_the_row() -> None:
    job = adopted(letter(headers={"eta": "2030-01-02T03:04:05+02:00", "expires": "2030-01-02T03:04:05"}))
    assert job.not_before == datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert job.expires == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (job.headers["eta"], job.headers["expires"]) == (None, None)


@pytest.mark.parametrize(("retries", "left"), [(1, 4), (4, 1), (9, 1), (0, 5), (-1, 5), ("2", 5), (None, 5)])
def test_retries_of_another_producer_go_on_where_they_were(retries: Any, left: int) -> None:
    """Or a move would try again from the first, and a task that looks at its retries would begin anew."""
    job = adopted(letter(headers={"retries": retries, RETRIED: 7}))
    assert (job.max_tries, job.headers.get(RETRIED, 0)) == (left, retries if left != 5 else 0)


def test_an_adopted_job_has_the_tries_of_its_task() -> None:
    class Once:
        default_tries = 1

    what = read(arrived(letter()), TASKS, max_tries=5, declared={"mail.send": Once})
    assert isinstance(what, Delivery)
    assert what.adopted is not None
    assert what.adopted.max_tries == 1


@pytest.mark.parametrize(
    ("given", "limits"),
    [([30, 20.5], [30, 20.5]), ([0, 0], [None, None]), ([None, 5], [None, 5]), (None, [None, None])],
)
def test_the_time_limits_of_a_foreign_message_are_kept(given: object, limits: list[object]) -> None:
    """0 is none, as in Celery."""
    assert adopted(letter(headers={"timelimit": given})).headers["timelimit"] == limits


@pytest.mark.parametrize(
    ("given", "priority"),
    [(None, 20), (0, 20), (25, 25), ("low", 0), (7.5, 20), (1000, 20), ([1], 20), ({}, 20)],
)
def test_a_foreign_priority_counts_where_it_is_one_of_ours(given: object, priority: int) -> None:
    assert adopted(letter(properties={"priority": given})).priority == priority


def test_a_body_that_is_not_packed_is_taken_as_it_is() -> None:
    item = letter(properties={"body_encoding": None}, body=BODY)
    assert adopted(item).payload == BODY.encode()


# One that nobody can read

UNREADABLE: dict[str, tuple[Any, str]] = {
    "no text": (b"\xff\xfe", "Error"),
    "no JSON": (b"{", "JSONDecodeError"),
    "a number": (b"7", "not a message"),
    "a list": (b"[]", "not a message"),
    "no properties": ({"body": "x"}, "not a message"),
    "properties of another kind": (letter() | {"properties": []}, "not a message"),
    "no delivery tag": (letter() | {"properties": {}}, "delivery_tag"),
    "headers of another kind": (letter() | {"headers": [1]}, "list"),
    "no headers": (letter() | {"headers": None}, "can be no task id"),
    "no id": (letter(headers={"id": None}), "can be no task id: 'None'"),
    "an id with control characters": (letter(headers={"id": "7\n"}), "can be no task id: '7\\n'"),
    "an id that is too long": (letter(headers={"id": "7" * 256}), "can be no task id: '777"),
    "a list as id": (letter(headers={"id": [1]}), "can be no task id"),
    "no task": (letter(headers={"task": None}), "names no task"),
    "an empty task": (letter(headers={"task": ""}), "names no task"),
    "a list as task": (letter(headers={"task": ["mail.send"]}), "names no task"),
    "a long task": (letter(headers={"task": "x" * 256}), "names no task"),
    "protocol 1": (
        letter('{"id": "x", "task": "mail.send", "args": []}', headers={"task": None}),
        "protocol 2",
    ),
    "a body that is a dict": (letter("{}"), "not [args, kwargs, options]"),
    "a body of two": (letter("[[], {}]"), "not [args, kwargs, options]"),
    "arguments that are no list": (letter('["x", {}, {}]'), "not [args, kwargs, options]"),
    "a body that is cut off": (letter(BODY[:-3]), "DecodeError"),
    "an empty body": (letter(""), "not [args, kwargs, options]"),
    "a pickle": (letter(**{"content-type": "application/x-python-serialize"}), "ContentDisallowed"),
    "another content type": (letter(**{"content-type": "text/plain"}), "ContentDisallowed"),
    "a content type of another kind": (letter(**{"content-type": [1]}), "TypeError"),
    "an encoding of another kind": (letter(**{"content-encoding": [1]}), "AttributeError"),
    "a body that is a number": (letter(properties={"body_encoding": None}, body=7), "Error"),
    "a body that is a large number": (letter(properties={"body_encoding": None}, body=10**12), "Error"),
    "a body that is an object": (letter(properties={"body_encoding": None}, body={"a": 1}), "Error"),
    "a body of lone surrogates": (letter(properties={"body_encoding": None}, body="\ud800"), "Error"),
    "a body that cannot be unpacked": (letter(body="%%%"), "not [args, kwargs, options]"),
    "a time limit in words": (letter(headers={"timelimit": ["soon", None]}), "time_limit: wanted seconds"),
    "a soft limit in words": (letter(headers={"timelimit": [None, "soon"]}), "soft_time_limit: wanted"),
    "a time limit of digits": (letter(headers={"timelimit": ["30", None]}), "found '30'"),
    "a negative time limit": (letter(headers={"timelimit": [-5, None]}), "found -5"),
    "a time limit that is a truth": (letter(headers={"timelimit": [True, None]}), "found True"),
    "an endless time limit": (letter(headers={"timelimit": [10**30, None]}), "time_limit: wanted seconds"),
    "a nested time limit": (letter(headers={"timelimit": [[1], {}]}), "time_limit: wanted seconds"),
    "a time limit that is no number": (letter(headers={"timelimit": [float("nan"), 1]}), "not JSON"),
    "one time limit": (letter(headers={"timelimit": [1]}), "wanted two limits"),
    "time limits that are no list": (letter(headers={"timelimit": 7}), "wanted two limits"),
    "another name of another kind": (letter(headers={"shadow": {"a": 1}}), "shadow: wanted text, found dict"),
    "deep headers": (letter(headers={"tenant": nested(101)}), "headers['tenant']: nested deeper than 100"),
    "deep arguments": (letter(json.dumps([[1], {"to": nested(900)}, {}])), "nested deeper than 100"),
    "a compression that it is not": (letter(headers={"compression": "application/x-gzip"}), "error"),
    "an unknown compression": (letter(headers={"compression": "x"}), "Error"),
    "a time of another kind": (letter(headers={"eta": 7}), "Error"),
    "a time that is none": (letter(headers={"expires": "tomorrow"}), "ValueError"),
}


@pytest.mark.parametrize(("item", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_nobody_can_read_is_told_with_its_reason(item: Any, reason: str) -> None:
    assert reason in unreadable(item).reason


@pytest.mark.parametrize(("item", "raw"), [(b"\xff\xfe", b"\xff\xfe"), (b"{", b"{"), (letter("{}"), b"{}")])
def test_what_nobody_can_read_is_kept_with_its_bytes(item: Any, raw: bytes) -> None:
    assert unreadable(item).raw == raw


def test_the_bytes_of_a_body_that_was_no_text_are_found_again() -> None:
    item = letter(properties={"body_encoding": None}, body={"a": "é"})
    assert "é".encode() in unreadable(item).raw or b"\\u00e9" in unreadable(item).raw


def test_what_nobody_can_read_keeps_its_id_and_its_task_where_it_has_them() -> None:
    what = unreadable(letter("{}"))
    assert (what.id, what.task, what.queue, what.content_type) == (
        JOB,
        "mail.send",
        "high",
        "application/json",
    )


def test_what_has_no_id_is_given_one() -> None:
    one, other = unreadable(b"{"), unreadable(b"{")
    assert (one.id.version, one.queue, one.task) == (7, "high", "(unreadable)")
    assert one.id != other.id


# Whatever it is

FOREIGN: dict[str, Any] = {
    "a task with NUL": letter(headers={"task": "mail\x00send"}),
    "a task with a lone surrogate": letter(headers={"task": "mail\ud800"}),
    "a header that is no number": letter(headers={"rate": float("nan")}),
    "a header with NUL": letter(headers={"note": "a\x00b\ud800"}),
    "a long address": letter(properties={"delivery_info": {"routing_key": "x" * 300}}),
    "an address with NUL": letter(properties={"delivery_info": {"routing_key": "a\x00b"}}),
    "an address of another kind": letter(properties={"delivery_info": "high"}),
    "no address": letter(properties={"delivery_info": {}}),
    "an address that is a number": letter(properties={"delivery_info": {"routing_key": 7}}),
    "no encoding": letter(**{"content-encoding": None}),
    "an eta behind all others": letter(headers={"eta": "9999-12-31T23:59:59+00:00"}),
    "an eta at which jobs are parked": letter(headers={"eta": PARKED.isoformat()}),
    "an eta before all others": letter(headers={"eta": "0001-01-01T00:00:00+14:00"}),
    "an expiry behind all others": letter(headers={"expires": "9999-12-31T23:59:59-14:00"}),
}

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=9)
    | st.just("x" * 300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


def some(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the fields ``names``, with any JSON in them."""
    return st.dictionaries(st.sampled_from(names), _json, max_size=2)


_letters = st.builds(
    letter,
    st.sampled_from([BODY, "", "{}", "[1, 2, 3]"]),
    headers=some("id", "task", STAMP, "eta", "expires", "compression", "root_id", "group", "note"),
    properties=some("body_encoding", "delivery_tag", "delivery_info", "priority", "correlation_id"),
)
_items = st.one_of(
    st.binary(max_size=30),
    _json,
    _letters,
    st.tuples(_letters, some("body", "content-type", "content-encoding", "headers", "properties")).map(
        lambda pair: pair[0] | pair[1]
    ),
)


def is_storable(text: object) -> bool:
    """Whether both databases keep it as a name."""
    try:
        return (
            isinstance(text, str)
            and len(text.encode()) > 0
            and len(text) <= NAME_LENGTH
            and "\x00" not in text
        )
    except UnicodeEncodeError:
        return False


def is_moment(value: datetime | None) -> bool:
    """Whether both databases keep it and give it back, and a job that waits for it is not parked."""
    try:
        return value is None or value.astimezone(UTC) < PARKED
    except OverflowError:
        return False


def can_be_written(what: Delivery | Unreadable) -> bool:
    if isinstance(what, Unreadable):
        names = (what.queue, what.task, what.content_type)
        return all(map(is_storable, names)) and type(what.raw) is bytes and "\x00" not in what.reason
    job = what.adopted
    if job is None:
        return True
    json.dumps(job.headers, allow_nan=False)
    names = (job.job_type, job.queue, job.content_type, job.content_encoding)
    moments = all(map(is_moment, (job.not_before, job.expires)))
    return (
        all(map(is_storable, names)) and type(job.payload) is bytes and moments and 0 <= job.priority <= 100
    )


@pytest.mark.parametrize("item", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_message_is_made_into_what_a_row_can_hold_or_is_unreadable(item: Any) -> None:
    assert can_be_written(found(item))


@pytest.mark.parametrize("item", [item for item, _ in UNREADABLE.values()], ids=UNREADABLE)
def test_the_dead_letter_for_it_can_be_written(item: Any) -> None:
    assert can_be_written(found(item))


@settings(max_examples=30, deadline=None)
@given(_items)
@example(letter(properties={"delivery_tag": [1]}))
def test_whatever_arrives_is_read_without_raising_and_can_be_written(item: Any) -> None:
    message = arrived(item)
    hash(message.delivery_tag)  # or the channel could not keep it
    assert not message.errors  # or kombu would hand it to nobody
    assert can_be_written(read(message, TASKS, max_tries=5))


def test_properties_of_a_foreign_message_are_kept() -> None:
    given = {"reply_to": "me", "app_id": "shop", "correlation_id": str(JOB), "message_id": 7}
    job = adopted(letter(properties=given))
    assert job.headers[PROPERTIES] == {"reply_to": "me", "app_id": "shop"}
    assert PROPERTIES not in adopted(letter()).headers


# Won


def claimed(
    *, attempt: int = 1, max_tries: int = 5, tries_before: int = 0, dispatch_count: int = 4
) -> Claimed:
    return Claimed(
        id=JOB,
        attempt=attempt,
        max_tries=max_tries,
        tries_before=tries_before,
        dispatch_count=dispatch_count,
        queue="high",
        dispatched=datetime(2030, 1, 1, tzinfo=UTC),
        failed_before=False,
        waited=timedelta(),
    )


@pytest.mark.parametrize("old", [False, True], ids=["its own message", "what its row says"])
def test_a_winner_whose_message_was_rejected_is_redelivered(old: bool) -> None:
    headers = {"id": str(JOB), "task": "a.b", PROPERTIES: {"reply_to": "me"}}
    row = Row(JOB, "a.b", "high", 20, b"[[], {}, {}]", "application/json", "utf-8", headers, 4)
    for redelivered in (False, True):
        won = claimed()._replace(redelivered=redelivered)
        made = stamped(arrived(letter(headers=DISPATCH)), won, row if old else None, worker=WORKER, now=NOW)
        assert made.delivery_info["redelivered"] is redelivered
        assert made.properties.get("reply_to") == ("me" if old else None)


def test_a_winner_carries_its_attempt() -> None:
    message = arrived(letter(headers=DISPATCH | {"eta": "2030-01-01T00:00:00", "retries": 0}))
    won = stamped(
        message,
        claimed(attempt=7, max_tries=10, tries_before=5, dispatch_count=3),
        None,
        worker=WORKER,
        now=NOW,
    )
    assert won.headers[STAMP] == {"attempt": 7, "try": 2, "tries": 5, "worker": str(WORKER), "dispatch": 3}
    assert (won.headers["retries"], won.headers["eta"], won.headers["expires"]) == (1, None, None)
    assert won.decode() == json.loads(BODY)


def test_a_winner_with_an_old_message_runs_what_the_row_says() -> None:
    message = arrived(letter("[[], {}, {}]", headers=DISPATCH | {"id": str(JOB), "task": "mail.old"}))
    headers = {"id": str(JOB), "task": "mail.send", "lang": "py"}
    row = Row(JOB, "mail.send", "low", 0, BODY.encode(), "application/json", "utf-8", headers, 4)
    won = stamped(message, claimed(), row, worker=WORKER, now=NOW)
    won.accept = {"application/json"}
    assert (won.headers["task"], won.headers["lang"]) == ("mail.send", "py")
    assert won.headers[STAMP] == {"attempt": 1, "try": 1, "tries": 5, "worker": str(WORKER), "dispatch": -1}
    assert won.decode() == json.loads(BODY)
    assert (won.delivery_tag, won.delivery_info["routing_key"]) == (message.delivery_tag, "low")


def test_a_winner_with_a_damaged_message_runs_what_the_row_says() -> None:
    message = arrived(letter(headers=DISPATCH, properties={"body_encoding": "rot13"}))
    row = Row(JOB, "mail.send", "low", 0, b"\xff\x00", "application/data", "binary", {"id": str(JOB)}, 4)
    won = stamped(message, claimed(), row, worker=WORKER, now=NOW)
    assert (won.body, won.content_type, won.damage) == (b"\xff\x00", "application/data", None)


# Where messages are signed


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    """Whose signatures this process makes and takes."""
    made = signer(tmp_path_factory.mktemp("signers"))
    with own_serializers():
        known = Settings(**made.settings)
        signing.set_up(Celery(set_as_current=False, config_source=signing.configuration(known)), known)
        yield made


def signed(payload: bytes, **headers: Any) -> dict[str, Any]:
    """A letter whose body is ``payload``, said to be signed."""
    return letter(
        headers=headers, body=base64.b64encode(payload).decode(), **{"content-type": signing.CONTENT_TYPE}
    )


def found_where_signed(item: Any) -> Delivery | Unreadable:
    return read(arrived(item), TASKS, max_tries=5, signs=True)


def test_a_copy_of_ours_is_a_hint_alone_where_messages_are_signed(ours: Signer) -> None:
    """Its headers may have been changed: the row's message is what runs."""
    payload = signing.sign(json.loads(BODY))
    what = found_where_signed(signed(payload, **DISPATCH))
    assert isinstance(what, Delivery)
    assert (what.job, what.dispatch, what.adopted) == (JOB, -1, None)


def test_a_signed_foreign_message_is_adopted(ours: Signer) -> None:
    payload = ours.sign(json.loads(BODY))
    what = found_where_signed(signed(payload))
    assert isinstance(what, Delivery)
    assert what.adopted is not None
    assert (what.adopted.payload, what.adopted.content_type) == (payload, signing.CONTENT_TYPE)


def test_an_unsigned_foreign_message_is_refused_with_its_bytes(ours: Signer) -> None:
    what = found_where_signed(letter())
    assert isinstance(what, Unreadable)
    assert what.raw == BODY.encode()
    assert what.reason == f"its body is not signed but application/json; it names the job {JOB}"


def test_a_forged_foreign_message_is_refused_with_its_bytes(ours: Signer, tmp_path: Path) -> None:
    payload = signer(tmp_path, "stranger").sign(json.loads(BODY))
    what = found_where_signed(signed(payload))
    assert isinstance(what, Unreadable)
    assert what.raw == payload
    assert what.reason.startswith("its signature does not hold")


def test_a_copy_of_ours_is_not_taken_for_a_producers_outside(ours: Signer) -> None:
    """Its body was signed by us, and it could be sent again and again, for any task."""
    owned = signing.bind_to_job(json.loads(BODY), {"id": str(JOB), "task": "mail.send"})
    what = found_where_signed(signed(signing.sign(owned), id=str(OTHER)))
    assert isinstance(what, Unreadable)
    assert what.reason.startswith("it is a copy of a message of this platform, without its stamp")


@pytest.mark.parametrize(
    "item",
    [
        letter(),
        letter(body=[7]),
        letter(headers={"task": None}),
        signed(b"rubbish"),
        signed(b"rubbish", compression="x"),
        signed(b""),
    ],
    ids=["unsigned", "damaged", "no task", "rubbish", "rubbish that is compressed", "empty"],
)
def test_what_is_not_authenticated_takes_no_jobs_id(ours: Signer, item: Any) -> None:
    """The id may be that of a schedule's next due time, or of a key that is not used yet."""
    what = found_where_signed(item)
    assert isinstance(what, Unreadable)
    assert (what.id != JOB, what.id.version) == (True, 7)
    assert what.reason.endswith(f"it names the job {JOB}")


def test_what_is_signed_and_cannot_be_read_takes_no_jobs_id(ours: Signer) -> None:
    """A signature does not cover the headers, in which the id stands."""
    what = found_where_signed(signed(ours.sign({})))
    assert isinstance(what, Unreadable)
    assert what.id != JOB
