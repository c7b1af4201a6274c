"""The charts: what ended over time, in steps, for pages and for the script that draws them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.responses import JSONResponse, Response

from celeriac.console.page_request import PageRequest
from celeriac.ledger.connection.error_kinds import took_too_long
from celeriac.operate.history import sparklines
from celeriac.operate.history.series import RANGES, Series, check, check_spread, names, series, spread
from celeriac.operate.presentation.shapes import document, plain

_NAMES_EVERY, _SPARKS_EVERY, _CAUSES_EVERY = 30.0, 5.0, 20.0  # seconds

#: Seconds that a script waits for its figures: longer than a page, which somebody waits for.
_WAIT = 8.0

FIRST = "1h"  # the range of a page that names none


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What a page needs to show a chart."""

    ranges: list[str]
    range: str
    task: str | None
    queue: str | None
    tasks: list[str]  # to choose from
    queues: list[str]


def chart_of(ask: PageRequest, *, task: str | None = None, queue: str | None = None) -> Chart:
    """The chart that the query of a page chooses.

    Args:
        task, queue: of the page, which then has no choice of tasks and queues.

    Raises:
        BadArgument: a value of the query has no meaning.
    """
    range, chosen, other = _choice(ask)
    queue = queue or other
    check(range, task=task or chosen, queue=queue)
    fixed = task or queue != other or ask.live  # the choice on an open page stays as it is
    known = {} if fixed else _names(ask, range)
    return Chart(
        ranges=list(RANGES),
        range=range,
        task=task or chosen,
        queue=queue,
        tasks=known.get("task", []),
        queues=known.get("queue", []),
    )


def show_series(ask: PageRequest) -> Response:
    """The figures of a chart, as JSON."""
    return JSONResponse(document("stats series", series=_figures(ask, None)), headers={"Vary": "Accept"})


def show_spread(ask: PageRequest) -> Response:
    """The figures of a heatmap, as JSON."""
    of = ask.query.get("of") or "run"
    return JSONResponse(document("stats spread", series=_spread(ask, of, None)), headers={"Vary": "Accept"})


def _spread(ask: PageRequest, of: str, task: str | None, queue: str | None = None) -> Any:
    range, chosen, other = _choice(ask)
    task, queue = task or chosen, queue or other
    check(range, task=task, queue=queue)
    check_spread(of)
    read = partial(spread, of, range, task=task, queue=queue, app=ask.app)
    return plain(ask.console.shared(f"spread {(of, range, task, queue)}", read, wait=_WAIT))


def told(
    ask: PageRequest, *, task: str | None = None, queue: str | None = None, spreads: bool = False
) -> dict[str, Any]:
    """The figures that the query of a page chooses, for its JSON. In HTML the script asks for them."""
    if not ask.wants_json:
        return {}
    heats = {of: _spread(ask, of, task, queue) for of in ("wait", "run")} if spreads else {}
    return {"series": _figures(ask, task, queue), **heats}


def _figures(ask: PageRequest, task: str | None, queue: str | None = None) -> Any:
    range, chosen, other = _choice(ask)
    return plain(_read(ask, range, task or chosen, queue or other))


def queue_sparks(ask: PageRequest) -> dict[str, tuple[list[int], list[int]]]:
    """Of each queue, the jobs that ended and failed in each minute of an hour; empty: it took too long."""
    read = partial(sparklines.by_queue, app=ask.app)
    found: dict[str, tuple[list[int], list[int]]]
    found = _or_nothing(ask, "queue-sparks", read, every=_SPARKS_EVERY)
    return found


def cause_sparks(ask: PageRequest) -> dict[str, list[int]]:
    """Of each cause of failure, the failed attempts in each hour of a day; empty: it took too long."""
    read = partial(sparklines.by_cause, app=ask.app)
    found: dict[str, list[int]] = _or_nothing(ask, "cause-sparks", read, every=_CAUSES_EVERY)
    return found


def _or_nothing(ask: PageRequest, key: str, read: Any, *, every: float) -> Any:
    """A page is worth more than its small charts: it does not wait for them for long."""
    try:
        return ask.console.shared(key, read, every=every, wait=0.3, patient=False)
    except TimeoutError:
        return {}
    except Exception as exc:  # only one that took too long is told apart; the page itself raises the others
        if took_too_long(exc):
            return {}
        raise


def _choice(ask: PageRequest) -> tuple[str, str | None, str | None]:
    query = ask.query
    return query.get("range") or FIRST, query.get("task") or None, query.get("queue") or None


def _read(ask: PageRequest, range: str, task: str | None, queue: str | None) -> Series:
    read = partial(series, range, task=task, queue=queue, app=ask.app)
    found: Series = ask.console.shared(f"series {(range, task, queue)}", read, wait=_WAIT)
    return found


def _names(ask: PageRequest, range: str) -> dict[str, list[str]]:
    read = partial(names, range, app=ask.app)
    found: dict[str, list[str]] = _or_nothing(ask, f"names {range}", read, every=_NAMES_EVERY)
    return found
