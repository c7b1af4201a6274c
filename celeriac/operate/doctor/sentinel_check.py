"""Whether the sentinels answer, agree that they may act, and have a replica to choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from redis.sentinel import Sentinel

from celeriac.display import counted
from celeriac.operate.doctor.finding import Area, Finding, fail, ok, warn

if TYPE_CHECKING:
    from celeriac.application import Celeriac


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    asked: int  # sentinels that the broker's address names
    answer: int  # those of them that know the server
    quorum: int  # how many must agree that the server is gone
    replicas: int  # that can take its place


def read(app: Celeriac) -> Facts | None:
    """Ask each sentinel; None where the broker is not behind Sentinel."""
    options: dict[str, Any] = app.conf.redbeat_redis_options
    if "sentinels" not in options:
        return None
    make: Any = Sentinel  # redis-py does not say what it takes
    asked = make(options["sentinels"], sentinel_kwargs=options["sentinel_kwargs"]).sentinels
    states = [state for one in asked if (state := _state(one, options["service_name"])) is not None]
    return Facts(
        asked=len(asked),
        answer=len(states),
        quorum=max((int(state["quorum"]) for state in states), default=0),
        replicas=max((int(state["num-slaves"]) for state in states), default=0),
    )


def _state(sentinel: Any, name: str) -> dict[str, Any] | None:
    try:
        return dict(sentinel.sentinel_master(name))
    except (RedisError, OSError):  # it is away, or knows no server of that name
        return None
    finally:
        sentinel.close()


def judge(facts: Facts | None) -> list[Finding]:
    return [] if facts is None else [*_sentinels(facts), *_replicas(facts)]


def _sentinels(facts: Facts) -> Iterator[Finding]:
    answer = "answers" if facts.asked == 1 else "answer"
    sentence = f"{facts.answer} of {counted(facts.asked, 'sentinel')} {answer}"
    remedy = "start the others, or correct CELERY_BROKER_URL and master_name"
    if facts.answer < max(facts.quorum, 1):
        sentence += f", {facts.quorum} must agree before a replica takes over"
        yield fail(Area.BROKER, "sentinels", sentence, remedy=remedy)
    elif facts.answer < facts.asked:
        yield warn(Area.BROKER, "sentinels", sentence, remedy=remedy)
    else:
        yield ok(Area.BROKER, "sentinels", sentence)


def _replicas(facts: Facts) -> Iterator[Finding]:
    if facts.answer and not facts.replicas:
        sentence = "the server has no replica: nothing takes over when it dies"
        yield warn(Area.BROKER, "replicas", sentence, remedy="give it one with REPLICAOF")
