"""``/jobs``: jobs by any filter, and actions on some or on all that fit."""

from __future__ import annotations

from functools import partial

from starlette.responses import RedirectResponse, Response

from celeriac.console.page_request import PageRequest
from celeriac.console.pages import acting
from celeriac.console.pages.acting import Question
from celeriac.errors import AmbiguousId, BadArgument, JobNotFound
from celeriac.ledger.connection.error_kinds import took_too_long
from celeriac.ledger.schema.lifecycle import WAITING, JobState
from celeriac.operate import job as jobs
from celeriac.operate import listing
from celeriac.operate.acting import moving, operations
from celeriac.operate.acting.acts import act_of
from celeriac.operate.acting.operations import Plan
from celeriac.operate.acting.selection import Selection, in_words
from celeriac.operate.listing import Sort
from celeriac.operate.presentation.filter_words import filter_of, options_of, words_in
from celeriac.operate.presentation.known_values import known_values
from celeriac.operate.presentation.shapes import plain

#: Counts end here, so that they cost the same in a large table.
MOST_COUNTED = 10_000

_COUNTS_EVERY, _KNOWN_EVERY = 5.0, 20.0  # seconds
_COUNTS_WAIT = 0.02  # seconds that a page waits for each: it is read again in two seconds


def show(ask: PageRequest) -> Response:
    query = ask.query
    words = words_in(query)
    if (one := _named(ask, words)) is not None:
        return RedirectResponse(ask.url(f"/jobs/{one}"), 303)
    sort, limit, after = sort_of(query.get("sort")), _limit(query.get("limit")), query.get("after")
    found = listing.page(
        filter_of(words), sort=sort, limit=limit, after=after, look_at=listing.MOST_SEARCHED, app=ask.app
    )
    rest = {"sort": None if sort is Sort.NEWEST else sort, "limit": query.get("limit"), "after": after}
    options = options_of(words | {name: str(value) for name, value in rest.items() if value})
    return ask.show(
        "jobs.html",
        command=f"jobs list{options}",
        told={"jobs": found.jobs, "next": found.next, "looked_at": found.looked_at},
        page=found,
        words=words,
        sort=sort,
        sorts=list(Sort),
        states=[None, *JobState],
        known={} if ask.live else _known(ask),  # the form stays as it is
        counts=_counts(ask, words),
        waiting=WAITING,
    )


def _named(ask: PageRequest, words: dict[str, str]) -> str | None:
    """The only job that is meant by an id, or by its beginning; None: there is a list to show."""
    if set(words) != {"id-prefix"} or ask.query.get("after") or ask.wants_json:
        return None
    try:
        return listing.resolve(words["id-prefix"].strip(), app=ask.app)
    except (BadArgument, JobNotFound, AmbiguousId):  # the list says so
        return None


def _known(ask: PageRequest) -> dict[str, list[str]]:
    """What may be typed; a page does not wait for it for long."""
    try:
        found: dict[str, list[str]] = ask.console.shared(
            "known-values",
            partial(known_values, app=ask.app),
            every=_KNOWN_EVERY,
            wait=_COUNTS_WAIT,
            patient=False,
        )
    except TimeoutError:
        return {}
    return found


def act(ask: PageRequest) -> Response:
    """Do an action with the ticked jobs, or with all that fit the filter."""
    action, words = ask.given("action"), words_in({name: values[-1] for name, values in ask.form.items()})
    chosen, options = act_of(action), options_of_move(ask) if action == "move" else {}
    back, rate = ask.url("/jobs", **words), rate_of(ask)
    ids = acting.selected(ask)
    hidden: list[tuple[str, str]] = []
    if ids:
        selection, subject, command = Selection.of({"ids": ids}), in_words(ids), ""
    else:
        words, selection, hidden = _of_filter(ask, words)
        subject, command = options_of(words).strip(), f"{_COMMANDS[action]}{options_of(words)}"
    plan = Plan(
        action=action,
        selection=selection,
        subject=subject,
        words={} if ids else words,
        rate=rate,
        options=options,
    )
    count = operations.count(action, selection, app=ask.app)
    question = Question(plan=plan, words=chosen.words, count=count, back=back, command=command)
    return acting.ask_or_begin(ask, question, hidden=hidden)


#: The commands that do the same.
_COMMANDS = {
    "cancel": "jobs cancel",
    "cancel-hard": "jobs cancel --hard",
    "replay": "jobs replay",
    "discard": "jobs discard",
    "run-now": "jobs run-now",
    "move": "jobs move",
}


def _of_filter(
    ask: PageRequest, words: dict[str, str]
) -> tuple[dict[str, str], Selection, list[tuple[str, str]]]:
    """The filter's words and jobs; and what keeps out the jobs that are accepted after the question."""
    if not words:
        raise BadArgument("filter", "choose jobs, or narrow the list first: every job is meant by no filter")
    selection = operations.settled(Selection(wanted=filter_of(words)), app=ask.app)
    assert selection.wanted is not None
    if "until" in words:
        return words, selection, []
    until = str(plain(selection.wanted.until))
    return words | {"until": until}, selection, [("until", until)]


def options_of_move(ask: PageRequest) -> dict[str, str | int]:
    """Where to move jobs, as the form says."""
    queue, priority = ask.given("to_queue").strip(), ask.given("to_priority").strip()
    return moving.checked(ask.console.app, queue or None, priority or None)


def _counts(ask: PageRequest, words: dict[str, str]) -> dict[str | None, str]:
    """How many jobs of each state fit, in words. Empty: not counted yet."""
    others = {word: value for word, value in words.items() if word != "state"}
    key, count = f"counts{options_of(others)}", _count_failures if "error" in others else _count_each
    try:
        counts: dict[str | None, str] = ask.console.shared(
            key, partial(count, ask, others), every=_COUNTS_EVERY, wait=_COUNTS_WAIT, patient=False
        )
    except TimeoutError:
        return {}
    return counts


def _count_each(ask: PageRequest, words: dict[str, str]) -> dict[str | None, str]:
    found = {state: _count(ask, words | {"state": state}) for state in JobState}
    known = [count for count in found.values() if count is not None]
    return {None: _told(sum(known) if len(known) == len(found) else None)} | {
        state: _told(count) for state, count in found.items()
    }


def _count_failures(ask: PageRequest, words: dict[str, str]) -> dict[str | None, str]:
    found, all_of_them = listing.count_failures(filter_of(words), look_at=listing.MOST_SEARCHED, app=ask.app)
    more = "" if all_of_them else "+"
    numbers = {None: sum(found.values())} | {state: found.get(state, 0) for state in JobState}
    return {state: f"{count:,}{more}" for state, count in numbers.items()}


def _told(count: int | None) -> str:
    if count is None:
        return "too many to count"
    return f"{MOST_COUNTED:,}+" if count > MOST_COUNTED else f"{count:,}"


def _count(ask: PageRequest, words: dict[str, str]) -> int | None:
    """None: too many to count in time."""
    try:
        return listing.count(filter_of(words), most=MOST_COUNTED + 1, app=ask.app)
    except Exception as exc:  # only one that took too long is told apart; the page itself raises the others
        if took_too_long(exc):
            return None
        raise


def sort_of(text: str | None) -> Sort:
    """The order of that name; the newest first unless it is given."""
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
