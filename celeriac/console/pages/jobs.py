"""``/jobs``: jobs by any filter, and actions on some or on all that fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import Response

from celeriac.console.operations import Act
from celeriac.console.page_request import PageRequest
from celeriac.console.pages import acting
from celeriac.console.pages.acting import Plan
from celeriac.errors import BadArgument
from celeriac.ledger.connection.error_kinds import took_too_long
from celeriac.ledger.schema.lifecycle import WAITING, JobState
from celeriac.ledger.writes.cancel import Answer
from celeriac.operate import dead_by_filter, dead_letters, listing
from celeriac.operate import job as jobs
from celeriac.operate.listing import Filter, Sort
from celeriac.operate.presentation.filter_words import filter_of, options_of, words_in
from celeriac.operate.presentation.shapes import plain

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Counts end here, so that they cost the same in a large table.
MOST_COUNTED = 10_000

#: An action on a filter counts further, since its number is typed.
_MOST_MET = 10_000_000

_COUNTS_EVERY = 5.0  # seconds
_DONE = frozenset({Answer.CANCELLED, Answer.REQUESTED})


def show(ask: PageRequest) -> Response:
    query = ask.query
    words = words_in(query)
    sort, limit, after = _sort(query.get("sort")), _limit(query.get("limit")), query.get("after")
    found = listing.page(filter_of(words), sort=sort, limit=limit, after=after, app=ask.app)
    rest = {"sort": None if sort is Sort.NEWEST else sort, "limit": query.get("limit"), "after": after}
    options = options_of(words | {name: str(value) for name, value in rest.items() if value})
    return ask.show(
        "jobs.html",
        command=f"jobs list{options}",
        told={"jobs": found.jobs, "next": found.next},
        page=found,
        words=words,
        sort=sort,
        sorts=list(Sort),
        states=[None, *JobState],
        counts=_counts(ask, words),
        most=MOST_COUNTED,
        waiting=WAITING,
    )


def act(ask: PageRequest) -> Response:
    """Cancel, replay or discard: the ticked jobs, or all that fit the filter."""
    action, words = ask.given("action"), words_in({name: values[-1] for name, values in ask.form.items()})
    back = ask.url("/jobs", **words)
    what, do_one = _chosen(action)
    ids = acting.selected(ask)
    if ids:
        do = partial(do_one, ask.console.app)
        each = f"{len(ids)} chosen: {', '.join(ids[:3])}{' …' if len(ids) > 3 else ''}"
        plan = Plan(
            what=what, which=each, count=len(ids), act=acting.one_by_one(ids, do), back=back, command=""
        )
        return acting.ask_or_start(ask, plan)
    return _act_on_filter(ask, action, words, back)


def _act_on_filter(ask: PageRequest, action: str, words: dict[str, str], back: str) -> Response:
    if not words:
        raise BadArgument("filter", "choose jobs, or narrow the list first: every job is meant by no filter")
    wanted = filter_of(words)
    hidden = []
    if wanted.until is None:  # a job that is accepted after the question is not met
        wanted = jobs.as_of_now(wanted, app=ask.app)
        hidden = [("until", str(plain(wanted.until)))]
    act, command = _on_filter(ask.console.app, action, wanted, rate=rate_of(ask))
    if action in ("replay", "discard"):
        count = dead_by_filter.count(wanted, app=ask.app)
    else:
        count = listing.count(wanted, most=_MOST_MET, unfinished=True, app=ask.app)
    plan = Plan(
        what=_ACTIONS[action][0],
        which=options_of(words).strip(),
        count=count,
        act=act,
        back=back,
        command=command + options_of(words) if command else "",
    )
    return acting.ask_or_start(ask, plan, hidden=hidden)


def _on_filter(app: Celeriac, action: str, wanted: Filter, *, rate: float | None) -> tuple[Act, str]:
    """The action, and the command that does it."""
    hard = action == "cancel-hard"
    ways: dict[str, tuple[Act, str]] = {
        "replay": (partial(_replay_all, app, wanted, rate), "jobs replay"),
        "discard": (partial(_discard_all, app, wanted), "jobs discard"),
    }
    return ways.get(action) or (
        partial(_cancel_all, app, wanted, hard),
        f"jobs cancel{' --hard' if hard else ''}",
    )


def _replay_all(app: Celeriac, wanted: Filter, rate: float | None, progress: Callable[[int], None]) -> int:
    return dead_by_filter.replay(wanted, rate=rate, progress=progress, app=app)


def _discard_all(app: Celeriac, wanted: Filter, progress: Callable[[int], None]) -> int:
    return dead_by_filter.discard(wanted, progress=progress, app=app)


def _cancel_all(app: Celeriac, wanted: Filter, hard: bool, progress: Callable[[int], None]) -> int:
    return jobs.cancel_matching(wanted, hard=hard, progress=progress, app=app)


def _cancel(app: Celeriac, id: str, *, hard: bool = False) -> bool:
    return jobs.cancel(id, hard=hard, app=app) in _DONE


def _replay(app: Celeriac, id: str) -> bool:
    return dead_letters.replay_one(id, app=app)


def _discard(app: Celeriac, id: str) -> bool:
    return dead_letters.discard_one(id, app=app)


#: The actions: in words, and on one job.
_ACTIONS: dict[str, tuple[str, Callable[[Celeriac, str], bool]]] = {
    "cancel": ("cancel for ever", _cancel),
    "cancel-hard": ("cancel and terminate", partial(_cancel, hard=True)),
    "replay": ("replay", _replay),
    "discard": ("discard", _discard),
}


def act_on_one(app: Celeriac, action: str, id: str) -> bool:
    """Do ``action`` with one job; whether it was done.

    Raises:
        BadArgument: there is no such action.
    """
    return _chosen(action)[1](app, id)


def _chosen(action: str) -> tuple[str, Callable[[Celeriac, str], bool]]:
    if action not in _ACTIONS:
        raise BadArgument("action", f"wanted one of {', '.join(_ACTIONS)}, found {action[:80]!r}")
    return _ACTIONS[action]


def in_words(action: str) -> str:
    return _ACTIONS[action][0]


def _counts(ask: PageRequest, words: dict[str, str]) -> dict[str | None, int | None]:
    """How many jobs of each state fit; None: too many to count in time. Empty: not counted yet."""
    others = {word: value for word, value in words.items() if word != "state"}

    def read() -> dict[str | None, int | None]:
        found: dict[str | None, int | None] = {
            state: _count(ask, others | {"state": state}) for state in JobState
        }
        known = [count for count in found.values() if count is not None]
        found[None] = sum(known) if len(known) == len(found) else None
        return found

    key = f"counts{options_of(others)}"
    try:
        counts: dict[str | None, int | None] = ask.console.shared(key, read, every=_COUNTS_EVERY, wait=0.15)
    except TimeoutError:
        return {}
    return counts


def _count(ask: PageRequest, words: dict[str, str]) -> int | None:
    try:
        return listing.count(filter_of(words), most=MOST_COUNTED + 1, app=ask.app)
    except Exception as exc:  # only one that took too long is told apart; the page itself raises the others
        if took_too_long(exc):
            return None
        raise


def _sort(text: str | None) -> Sort:
    try:
        return Sort(text or Sort.NEWEST)
    except ValueError:
        raise BadArgument("--sort", f"wanted one of {', '.join(Sort)}, found {text!r:.80}") from None


def _limit(text: str | None) -> int:
    if not text:
        return jobs.PAGE
    if not text.isdecimal() or len(text) > 4:
        raise BadArgument("--limit", f"wanted 1 to {jobs.LARGEST_PAGE:,}, found {text[:80]!r}")
    return int(text)


def rate_of(ask: PageRequest) -> float | None:
    """Jobs a second, as the form says; None: as fast as it goes."""
    text = ask.given("rate").strip()
    try:
        rate = float(text) if text else None
    except ValueError:
        rate = -1.0
    if rate is not None and not 0.1 <= rate <= 1e6:
        raise BadArgument("rate", f"wanted jobs a second, at least 0.1, found {text[:80]!r}")
    return rate
