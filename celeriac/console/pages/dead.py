"""``/dead``: dead letters in groups of the same cause, and what can be done with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from starlette.responses import Response

from celeriac.console.changes import log_change
from celeriac.console.in_time import InTime
from celeriac.console.page_request import PageRequest
from celeriac.console.pages import acting, charts, jobs
from celeriac.console.pages.acting import Question
from celeriac.console.tracebacks import parts
from celeriac.console.trees import tree
from celeriac.errors import BadArgument, GroupNotFound
from celeriac.operate import dead_letters
from celeriac.operate.acting import operations
from celeriac.operate.acting.operations import Plan
from celeriac.operate.acting.selection import Selection
from celeriac.operate.alerts import mutes
from celeriac.operate.alerts.mutes import Mute
from celeriac.operate.dead_letters import Cause, Group
from celeriac.operate.history.origins import origins
from celeriac.operate.job import job
from celeriac.operate.presentation.shapes import cause_shape, group_shape
from celeriac.operate.presentation.timeline import shown_values

_MOST = 100_000  # groups
_SHOWN = 200
_SAMPLES = 3
_LISTED = 20  # jobs of a group, the newest
_ORIGINS = {
    "workers": "worker",
    "versions": "version",
    "users": "user",
    "queues": "queue",
}  # words of a filter
_EVERY = 4.0  # seconds
_NEWEST = (20_000, 2_000)  # dead letters that are looked at where all of them take too long
_PATIENCE = 7.0  # seconds that the first page waits then: all in vain, then some


def show(ask: PageRequest) -> Response:
    found = all_groups(ask)
    silent = muted_groups(ask, found)
    loud = [pair for pair in _with_causes(found) if pair[0].key not in silent]
    command = "dead-letters list" if len(found) <= 50 else f"dead-letters list --limit {len(found)}"
    return ask.show(
        "dead.html",
        command=command,
        told={"groups": [group_shape(group, silent) for group in found]},
        groups=loud[:_SHOWN],
        more=len(loud) - _SHOWN,
        silent=[(*pair, silent[pair[0].key]) for pair in _with_causes(found) if pair[0].key in silent],
        sparks=charts.cause_sparks(ask),
        jobs=sum(group.count for group in found),
        capped=sum(group.count for group in found) in _NEWEST,
        now=datetime.now(UTC),
    )


def show_group(ask: PageRequest) -> Response:
    group = _group(ask, ask.path("key"))
    cause = Cause.of(group)
    ids = dead_letters.members(cause, app=ask.app)
    samples = [job(id, app=ask.app) for id in ids[-_SAMPLES:]]
    newest = next((one for one in reversed(samples) if one.attempts), None)
    values = [(one, shown_values(ask.app, one)) for one in samples]
    where = origins(cause, app=ask.app)
    traceback = newest.attempts[-1].traceback if newest else None
    return ask.show(
        "group.html",
        command=f"dead-letters show {cause.key}",
        told={
            "group": cause_shape(cause),
            "ids": ids,
            "traceback": traceback,
            "origins": {name: getattr(where, name) for name in _ORIGINS},
        },
        cause=cause,
        group=group,
        mute=muted_groups(ask, [group]).get(cause.key),
        spans=_SPANS,
        where=where,
        first_version=_first_version(ask, ids),
        words=_ORIGINS,
        looked_at=len(where.newest),
        shown=where.newest[:_LISTED],
        samples=[
            (one, tree(has["args"], ("args",)), tree(has["kwargs"], ("kwargs",))) for one, has in values
        ],
        trace=parts(traceback or ""),
        now=datetime.now(UTC),
    )


def _first_version(ask: PageRequest, ids: Sequence[str]) -> str | None:
    """Of the code that the oldest job of a group failed in; None: it is not said."""
    first = job(ids[0], app=ask.app) if ids else None
    return first.attempts[-1].code_version if first is not None and first.attempts else None


def act(ask: PageRequest) -> Response:
    """Replay or discard: the groups that were ticked, or the ticked jobs of one."""
    action, canary = ask.given("action"), ask.given("action") == "canary"
    action = "replay" if canary else action
    if action not in ("replay", "discard"):
        raise BadArgument("action", f"wanted replay, canary or discard, found {action[:80]!r}")
    if acting.selected(ask):
        return jobs.act(ask)
    keys = list(dict.fromkeys(ask.form.get("key", [])))
    groups = [_group(ask, key) for key in keys]
    if not groups:
        raise BadArgument("key", "choose at least one group, or jobs of one")
    causes = tuple(map(Cause.of, groups))
    one = causes[0].key if len(groups) == 1 else None
    named = f"dead-letters {action} {one}{' --canary' if canary else ''}" if one else ""
    plan = Plan(
        action=action,
        selection=operations.settled(Selection(causes=causes), app=ask.app),
        subject="; ".join(_in_words(group) for group in groups[:5]) + (" …" if len(groups) > 5 else ""),
        rate=jobs.rate_of(ask) if action == "replay" else None,
        canary=canary,
    )
    question = Question(
        plan=plan,
        words="replay, five first," if canary else action,
        count=operations.count(action, plan.selection, app=ask.console.app),
        back=ask.url(f"/dead/{one}" if one and action == "replay" else "/dead"),
        command=named,
    )
    return acting.ask_or_begin(ask, question)


def mute(ask: PageRequest) -> Response:
    """Mute a group, or end that."""
    key, action, reason, app = ask.path("key"), ask.given("action"), ask.given("reason"), ask.console.app
    if action == "mute":
        made = mutes.mute(key, lasts=_span(ask.given("for")), actor=ask.actor, reason=reason, app=app)
        said = f"group {made.key} is muted"
    elif action == "unmute":
        ended = mutes.unmute(key, actor=ask.actor, reason=reason, app=app)
        said = f"group {key} is {'not muted any more' if ended else 'not muted'}"
    else:
        raise BadArgument("action", f"wanted mute or unmute, found {action[:80]!r}")
    log_change(ask.visitor.name, f"{action}d group", key)
    return ask.go(ask.url(f"/dead/{key}"), saying=said)


def muted_groups(ask: PageRequest, groups: Sequence[Group]) -> Mapping[str, Mute]:
    """The mutes of these groups. They are read for each page: after a mute the next one must show it."""
    return mutes.in_force(mutes.muted(app=ask.app), groups)


#: For how long a group may be muted on its page; None: until it changes.
_SPANS = {
    "1h": timedelta(hours=1),
    "8h": timedelta(hours=8),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
}


def _span(text: str) -> timedelta | None:
    if text and text not in _SPANS:
        raise BadArgument("for", f"wanted one of {', '.join(_SPANS)}, or nothing, found {text[:80]!r}")
    return _SPANS.get(text)


def _with_causes(groups: Sequence[Group]) -> list[tuple[Cause, Group]]:
    return [(Cause.of(group), group) for group in groups]


def all_groups(ask: PageRequest) -> list[Group]:
    """Every group, the largest first; all pages share it."""
    found: list[Group] = ask.console.shared("groups", _read(ask), every=_EVERY, wait=_PATIENCE)
    return found


def _read(ask: PageRequest) -> InTime[list[Group]]:
    some, few = _NEWEST
    return InTime(
        partial(dead_letters.groups, limit=_MOST, app=ask.console.impatient),
        partial(dead_letters.groups, limit=_MOST, newest=some, app=ask.console.impatient),
        partial(dead_letters.groups, limit=_MOST, newest=few, app=ask.app),
    )


def _group(ask: PageRequest, key: str) -> Group:
    found = _with_key(all_groups(ask), key) or _with_key(_read(ask)(), key)  # it may be a moment old
    if found is None:
        raise GroupNotFound(key)
    return found


def _in_words(group: Group) -> str:
    return f"{group.task}, {group.exception_type or 'no exception'}, {group.frame or 'no frame'}"


def _with_key(groups: Sequence[Group], key: str) -> Group | None:
    return next((group for group in groups if Cause.of(group).key == key.lower()), None)
