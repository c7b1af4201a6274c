"""The broker's version, its eviction policy and its memory; whether the result store answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError

from celeriac.operate.doctor.finding import Area, Finding, fail, ok, warn
from celeriac.stack.embedded_valkey import OLDEST

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_POLICY = "noeviction"
_FULL, _NEARLY_FULL = 0.8, 0.95  # of its memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    version: str | None  # None: its user may not ask
    policy: str | None  # what happens when its memory is full; None: it does not say
    used: int  # bytes
    most: int  # bytes; 0: no limit of its own
    results: str | None = None  # why the result store cannot be asked; None: it answers, or is to be none


def read(app: Celeriac) -> Facts:
    """Ask the broker, and whether the result store answers.

    Raises:
        OSError, OperationalError, RedisError: the broker cannot be reached.
    """
    with app.connection_or_acquire() as connection:
        info = _info(connection.default_channel.whole_keys)
    return _facts(info, results=_results(app))


def _info(client: Any) -> Mapping[str, Any] | None:
    """The reply to INFO; None where the user's ACL forbids it. No job needs it."""
    try:
        found: Mapping[str, Any] = client.info()
    except NoPermissionError:
        return None
    return found


def _facts(info: Mapping[str, Any] | None, *, results: str | None) -> Facts:
    if info is None:
        return Facts(version=None, policy=None, used=0, most=0, results=results)
    return Facts(
        version=str(info.get("redis_version", "0")),  # Valkey's too: the Redis it is compatible with
        policy=info.get("maxmemory_policy"),
        used=int(info.get("used_memory", 0)),
        most=int(info.get("maxmemory", 0)),
        results=results,
    )


def _results(app: Celeriac) -> str | None:
    if not app.settings.keeps_results:
        return None
    try:
        app.backend.client.ping()
    except app.broker_errors as exc:
        return type(exc).__name__
    return None


def judge(facts: Facts) -> list[Finding]:
    server = [_info_denied()] if facts.version is None else [*_server(facts, facts.version)]
    return [*server, *_store(facts)]


def _info_denied() -> Finding:
    sentence = (
        f"it answers; its user may not ask INFO, so version, memory and eviction ({_POLICY}) are not known"
    )
    return ok(Area.BROKER, "version", sentence)


def _server(facts: Facts, version: str) -> Iterator[Finding]:
    yield _version(version)
    yield _policy(facts)
    yield _memory(facts)


def _version(version: str) -> Finding:
    wanted = ".".join(map(str, OLDEST))
    if _numbers(version) < OLDEST:
        sentence = f"version {version}, wanted {wanted} or newer"
        return fail(Area.BROKER, "version", sentence, remedy="upgrade to Valkey 8 or Redis 7")
    return ok(Area.BROKER, "version", f"speaks Redis {version}")


def _policy(facts: Facts) -> Finding:
    if facts.policy is None:
        sentence = "it does not report its maxmemory-policy"
        return warn(Area.BROKER, "eviction", sentence, remedy=f"make sure that it is {_POLICY}")
    if facts.policy != _POLICY:
        sentence = f"maxmemory-policy is {facts.policy}: messages and results vanish when its memory is full"
        return fail(Area.BROKER, "eviction", sentence, remedy=f"CONFIG SET maxmemory-policy {_POLICY}")
    return ok(Area.BROKER, "eviction", f"maxmemory-policy is {_POLICY}")


def _memory(facts: Facts) -> Finding:
    used = f"{facts.used / 1_000_000:,.0f} MB"
    if not facts.most:
        return ok(Area.BROKER, "memory", f"{used} used, no limit of its own")
    share = facts.used / facts.most
    sentence = f"{used} used, {share:.0%} of what it may"
    remedy = "raise maxmemory, lower CELERIAC_RESULT_TTL, or set ignore_result on tasks that nobody asks"
    if share >= _NEARLY_FULL:
        return fail(Area.BROKER, "memory", sentence, remedy=remedy)
    if share >= _FULL:
        return warn(Area.BROKER, "memory", sentence, remedy=remedy)
    return ok(Area.BROKER, "memory", sentence)


def _store(facts: Facts) -> Iterator[Finding]:
    if facts.results is not None:
        sentence = f"the result store does not answer: {facts.results}"
        yield fail(Area.BROKER, "results", sentence, remedy="see CELERY_RESULT_BACKEND")


def _numbers(version: str) -> tuple[int, ...]:
    """The version as numbers; what is none counts as 0.

    >>> _numbers("7.2.4"), _numbers("8.0-rc1")
    ((7, 2, 4), (8, 0))
    """
    return tuple(
        int("".join(c for c in part.split("-")[0] if c.isdigit()) or 0) for part in version.split(".")
    )
