"""Lanes: what the names of queues and of lists say, and the order in which lists are drawn."""

from __future__ import annotations

import pytest
from kombu import Exchange, Queue
from kombu.common import Broadcast

from celeriac.broker.queues import Queues, named_in_routes, problems
from celeriac.errors import BadArgument
from celeriac.ledger.schema.lanes import (
    LANE_LENGTH,
    Lanes,
    adopted_priority,
    check,
    draw_order,
    place_of,
    rows_of,
)

STEP = "\x06\x16"  # kombu's, between the name of a queue and one of its priorities


# ---- names


@pytest.mark.parametrize(
    ("name", "lane", "level"),
    [
        ("gpu", "gpu", None),
        ("gpu.high", "gpu", "high"),
        ("eu.gpu.low", "eu.gpu", "low"),
        ("high", "default", "high"),
        ("default", "default", None),
        ("celery", "default", None),
        ("celery.low", "default", "low"),
        ("highly", "highly", None),
        ("gpu.urgent", "gpu.urgent", None),
    ],
)
def test_lane_and_level_follow_from_the_name(name: str, lane: str, level: str | None) -> None:
    assert Lanes().place(name) == (lane, level)


def test_celery_is_a_lane_of_its_own_where_it_is_declared_beside_default() -> None:
    lanes = Lanes.among(["default", "celery"])
    assert lanes.lists("celery") == ("celery.critical", "celery.high", "celery.normal", "celery.low")
    assert lanes.lists("default") == ("critical", "high", "normal", "low")
    assert (lanes.bare("default"), lanes.bare("celery")) == (("default",), ("celery",))
    assert Lanes.among(["celery", "gpu"]).lists("celery") == ("critical", "high", "normal", "low")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("high.low", "must not be or end in a level .*found 'high'"),
        ("gpu.high.low", "must not be or end in a level .*found 'gpu.high'"),
        (".high", "must not be or end in a level .*found ''"),
        ("", "found an empty one"),
        ("a\nb", "without control characters"),
        (f"gpu{STEP}3", "without control characters"),
        ("a" * (LANE_LENGTH + 1), f"at most {LANE_LENGTH} characters"),
        ("a" * 300, "at most 255 characters"),
        (7, "wanted text, found int"),
    ],
)
def test_what_cannot_be_the_name_of_a_queue_is_refused(name: object, said: str) -> None:
    with pytest.raises(BadArgument, match=f"queue: .*{said}"):
        check(name)


def test_the_longest_lane_fits_into_a_row_with_its_longest_level() -> None:
    lane = "a" * LANE_LENGTH
    assert check(lane) == lane
    assert max(map(len, Lanes().lists(lane))) == 255


# ---- the list of a job


@pytest.mark.parametrize(
    ("queue", "priority", "found"),
    [
        ("gpu", None, "gpu.normal"),
        ("gpu", 0, "gpu.low"),
        ("gpu", 25, "gpu.high"),
        ("gpu", 100, "gpu.critical"),
        ("gpu.high", None, "gpu.high"),
        ("gpu.high", 0, "gpu.high"),
        ("default", 25, "high"),
        ("celery", None, "normal"),
        ("default.low", 30, "low"),
        ("low", 30, "low"),
    ],
)
def test_a_priority_chooses_the_level_where_the_queue_names_none(
    queue: str, priority: int | None, found: str
) -> None:
    assert Lanes().list_for(queue, priority) == found


def test_a_lane_stands_for_the_rows_of_its_levels_and_those_of_old() -> None:
    assert rows_of("gpu") == ("gpu.critical", "gpu.high", "gpu.normal", "gpu.low", "gpu")
    assert rows_of("default") == ("critical", "high", "normal", "low", "default", "celery")
    assert rows_of("default.high") == ("high",)


# ---- the order of drawing


def names(*lists: str, foreign: Lanes | None = None) -> list[str]:
    return [each.name for each in draw_order(lists, foreign=foreign)]


def test_the_level_is_first_then_the_order_in_which_lanes_were_named() -> None:
    lanes = Lanes()
    lists = [each for lane in ("mail", "gpu", "default") for each in lanes.lists(lane)]
    assert names(*lists) == [
        *("mail.critical", "gpu.critical", "critical", "mail.high", "gpu.high", "high"),
        *("mail.normal", "gpu.normal", "normal", "mail.low", "gpu.low", "low"),
    ]


def test_lists_of_plain_celery_stand_behind_every_normal_one_and_before_the_low_ones() -> None:
    lists = [*Lanes().lists("gpu"), *Lanes().lists("mail")]
    found = names(*lists, foreign=Lanes())
    normal, low = found.index("mail.normal"), found.index("gpu.low")
    steps = [f"{lane}{STEP}{step}" for lane in ("gpu", "mail") for step in (3, 6, 9)]
    assert found[normal + 1 : low] == ["gpu", "mail", *steps]


def test_who_does_not_draw_the_level_normal_draws_nothing_of_plain_celery() -> None:
    assert names("gpu.critical", "gpu.low", foreign=Lanes()) == ["gpu.critical", "gpu.low"]


def test_the_default_lane_draws_what_projects_used_to_call_its_levels() -> None:
    """A queue ``high`` of plain Celery has lists for kombu's priorities, and messages may lie in them."""
    found = names(*Lanes().lists("default"), foreign=Lanes())
    assert found[1:5] == [*(f"critical{STEP}{step}" for step in (3, 6, 9)), "high"]
    assert {"celery", "default", f"celery{STEP}9", f"default{STEP}9", f"low{STEP}3"} <= set(found)


def test_what_is_drawn_for_adoption_has_a_lane_and_a_level() -> None:
    drawn = {each.name: each for each in draw_order(Lanes().lists("gpu"), foreign=Lanes())}
    assert drawn["gpu"] == ("gpu", "gpu.normal", "gpu.normal")
    assert drawn[f"gpu{STEP}3"] == (f"gpu{STEP}3", "gpu.normal", "gpu.low")
    assert drawn["gpu.high"] == ("gpu.high", "gpu.high", "gpu.high")


def test_no_list_is_drawn_twice() -> None:
    lists = [*Lanes().lists("default"), *Lanes().lists("gpu")]
    found = names(*lists, foreign=Lanes())
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("number", "queue", "priority"),
    [
        (3, "gpu.low", 7),
        (9, "gpu.low", 1),
        (1, "normal", 9),
        (3, "high", None),
        (0, "normal", None),
        (10, "normal", None),
        (True, "normal", None),
        ("low", "normal", None),
    ],
)
def test_kombus_nine_is_the_least_important(number: object, queue: str, priority: int | None) -> None:
    assert adopted_priority(number, queue) == priority


# ---- the queues of an app


def known(*queues: Queue, create_missing: bool = True) -> Queues:
    return Queues(queues, create_missing=create_missing)


def test_a_lane_is_known_by_its_name_and_by_its_lists() -> None:
    queues = known(Queue("gpu"))
    assert "gpu" in queues
    assert "gpu.high" in queues
    assert "mail" not in queues
    assert queues["gpu"].name == "gpu"
    assert queues["gpu.high"].name == "gpu.high"
    assert list(queues.consume_from) == list(Lanes().lists("gpu"))


def test_q_names_lanes_and_levels_and_keeps_its_order() -> None:
    queues = known(Queue("gpu"), Queue("mail"))
    queues.select(["mail.high", "gpu"])
    assert list(queues.consume_from) == ["mail.high", *Lanes().lists("gpu")]
    queues.deselect(["gpu.low"])
    assert list(queues.consume_from) == ["mail.high", "gpu.critical", "gpu.high", "gpu.normal"]
    queues.deselect("gpu")
    queues.select_add("mail")
    assert list(queues.consume_from) == ["mail.high", "mail.critical", "mail.normal", "mail.low"]


def test_x_leaves_out_a_lane_where_q_names_none() -> None:
    queues = known(Queue("gpu"), Queue("mail"))
    queues.deselect(["gpu"])
    assert list(queues.consume_from) == list(Lanes().lists("mail"))


def test_an_alias_stands_for_its_lane() -> None:
    gpu = Queue("gpu", alias="cards")
    queues = known(gpu)
    queues.select("cards")
    assert list(queues.consume_from) == list(Lanes().lists("gpu"))


def test_a_name_that_nobody_declared_is_made_unless_that_is_switched_off() -> None:
    assert known()["mail"].name == "mail"
    strict = known(Queue("gpu"), create_missing=False)
    with pytest.raises(KeyError):
        strict["mail"]
    with pytest.raises(KeyError):
        strict.select(["mail.high"])
    with pytest.raises(BadArgument, match=r"queue: wanted one of gpu .declare others .*found 'mail'"):
        strict.require("mail")
    assert strict.require("gpu.low") == "gpu.low"
    strict.named = lambda: ["mail"]  # by a task that was imported since
    assert strict["mail"].name == "mail"


def test_a_lane_that_only_a_call_names_is_not_drawn() -> None:
    """As in Celery: other workers may be there for it."""
    queues = known(Queue("gpu"))
    _ = queues["mail"]
    assert list(queues.consume_from) == list(Lanes().lists("gpu"))


def test_a_lane_that_is_named_elsewhere_is_drawn() -> None:
    queues = known(Queue("gpu"))
    queues.named = lambda: [None, "mail.high", Queue("web")]
    found = list(queues.consume_from)
    assert found == [each for lane in ("gpu", "mail", "web") for each in Lanes().lists(lane)]


def test_an_exchange_and_a_routing_key_are_those_of_a_declared_queue() -> None:
    queues = known(Queue("gpu", Exchange("cards", "direct"), routing_key="fast"))
    assert queues.bound("cards", "fast") == queues.bound(Exchange("cards"), "fast") == "gpu"
    with pytest.raises(BadArgument, match=r"exchange: .*the exchange 'cards' and the routing key 'slow'"):
        queues.bound("cards", "slow")


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        (Queue("feeds", Exchange("feeds", "topic")), "'feeds' has topic"),
        (Queue("feeds", Exchange("feeds", "headers")), "'feeds' has headers"),
        (Queue("feeds", Exchange("feeds", "fanout")), "'feeds' has fanout"),
        (Broadcast("all"), "has fanout"),
        (Queue("gpu.high"), "'gpu.high' is the level high of the lane 'gpu'.*declare 'gpu'"),
        (Queue("a\x06\x16b"), "without control characters"),
    ],
)
def test_a_queue_that_cannot_be_a_lane_is_refused_by_name(queue: Queue, said: str) -> None:
    (problem,) = problems([queue, Queue("gpu")])
    assert problem.startswith("task_queues: ")
    with pytest.raises(BadArgument, match=said):
        known(queue)


@pytest.mark.parametrize(
    "queues",
    [
        None,
        [],
        [Queue("gpu"), Queue("mail", Exchange("mail"), routing_key="mail")],
        [Queue("high"), Queue("low"), Queue("default"), Queue("celery")],
        {"gpu": {"exchange": "gpu", "routing_key": "gpu"}},
        {"gpu": Queue("gpu")},
    ],
)
def test_direct_queues_are_taken_in_every_form(queues: object) -> None:
    assert list(problems(queues)) == []


def test_a_queue_that_is_called_like_a_level_declares_the_default_lane() -> None:
    assert list(known(Queue("high")).consume_from) == ["critical", "high", "normal", "low"]


@pytest.mark.parametrize(
    ("routes", "named"),
    [
        (None, []),
        ({"a.*": "gpu", "b": {"queue": "mail", "priority": 3}}, ["gpu", "mail"]),
        ([{"a.*": "gpu"}, [("b", {"queue": "mail"})], len, "proj.routers.Router"], ["gpu", "mail"]),
        ({"a": {"priority": 3}}, [None]),
    ],
)
def test_the_queues_of_written_routes_are_known(routes: object, named: list[object]) -> None:
    assert list(named_in_routes(routes)) == named


def test_the_place_of_a_name_does_not_depend_on_what_is_declared() -> None:
    assert place_of("celery.low") == ("celery", "low")
