"""``/audit``: who did what, when, to which jobs."""

from __future__ import annotations

from starlette.responses import Response

from celeriac.console.page_request import PageRequest
from celeriac.operate.actions import list_actions
from celeriac.operate.presentation.action_shapes import action_shape
from celeriac.operate.presentation.audit_words import WORDS, wanted_of
from celeriac.operate.presentation.filter_words import options_of


def show(ask: PageRequest) -> Response:
    words = {word: ask.query[word] for word in WORDS if ask.query.get(word)}
    after = ask.query.get("after")
    found = list_actions(**wanted_of(words), after=after, app=ask.app)
    options = options_of(words | ({"after": after} if after else {}))
    return ask.show(
        "audit.html",
        command=f"audit{options}",
        told={"actions": [action_shape(each) for each in found.actions], "next": found.next},
        actions=found.actions,
        next=found.next,
        words=words,
    )


def show_operations(ask: PageRequest) -> Response:
    """The page as it was called before."""
    return show(ask) if ask.wants_json else ask.go(ask.url("/audit"))
