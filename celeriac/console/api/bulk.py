"""Actions on many jobs: all that fit a filter, some by their ids, dead letters by their groups."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request

from celeriac.console.access.roles import Role
from celeriac.console.access.visitor import Visitor
from celeriac.console.api.bodies import Bulk, WhichJobs
from celeriac.console.api.problems import problem
from celeriac.console.api.routing import ApiRoute, Refusal, console_of, visitor
from celeriac.console.changes import log_action
from celeriac.console.console import Console
from celeriac.display import counted
from celeriac.errors import BadArgument
from celeriac.ids import parse_row_id
from celeriac.operate import dead_letters
from celeriac.operate.acting import moving, operations
from celeriac.operate.acting.operations import Plan
from celeriac.operate.acting.selection import Selection, in_words
from celeriac.operate.actions import Actor, Via
from celeriac.operate.presentation.action_shapes import operation_shape
from celeriac.operate.presentation.filter_words import filter_of, options_of, words_in, words_of

router = APIRouter(route_class=ApiRoute)

Operator = Annotated[Visitor, visitor(Role.OPERATOR)]

#: From here on a request must say how many jobs it expects, as a person must type the number.
UNSAID = 1_000


@router.post("/operations/count")
def count_jobs(request: Request, _: Operator, body: Bulk) -> dict[str, Any]:
    """How many jobs the action would meet now; nothing is done.

    `filter` is the one that was given, with `until` in it: sent with it, the action does not meet jobs that
    were accepted after this answer.
    """
    console = console_of(request)
    plan = _plan(console, body)
    count = operations.count(plan.action, plan.selection, app=console.reader)
    return {"action": plan.action, "count": count, "filter": dict(plan.words) or None}


@router.post("/operations", status_code=202)
def begin_operation(request: Request, who: Operator, body: Bulk) -> dict[str, Any]:
    """Begin an action on many jobs; the answer is an operation to be watched, and stopped.

    The jobs are counted first. More than 1,000, or more than `expected`, are refused with their number.
    """
    console = console_of(request)
    plan = _plan(console, body)
    count = operations.count(plan.action, plan.selection, app=console.reader)
    _check(count, body)
    by = Actor(who.name, Via.API)
    id = operations.begin(plan, by=by, counted=count, reason=body.reason, app=console.app)
    log_action(who.name, plan.action, plan.subject, jobs=count)
    console.runner.wake()
    found = operations.find(id, app=console.app)
    assert found is not None
    return operation_shape(found)


def _check(count: int, body: Bulk) -> None:
    if not count:
        raise Refusal(problem(409, "it cannot be done now", "no job fits: nothing was done"))
    most = UNSAID if body.expected is None else body.expected
    if count > most:
        wanted = f"send `expected`: {count}, if they are meant"
        sentence = f"it would meet {counted(count, 'job')}, more than {most:,}: {wanted}"
        raise Refusal(problem(409, "it cannot be done now", sentence, field="expected"))


def _plan(console: Console, body: Bulk) -> Plan:
    options = moving.checked(console.app, body.queue, body.priority) if body.action == "move" else {}
    if body.action != "move" and (body.queue is not None or body.priority is not None):
        raise BadArgument("queue", "only a move has a queue and a priority")
    selection, subject, words = _selection(console, body)
    return Plan(
        action=body.action,
        selection=operations.settled(selection, app=console.reader),
        subject=subject,
        words=words,
        rate=body.rate,
        options=options,
        canary=body.canary,
    )


def _selection(console: Console, body: Bulk) -> tuple[Selection, str, dict[str, str]]:
    """Which jobs are meant, that in words, and the words of the filter."""
    given = [name for name in ("filter", "ids", "groups") if getattr(body, name) is not None]
    if len(given) != 1:
        raise BadArgument("filter", f"name one of filter, ids and groups, found {', '.join(given) or 'none'}")
    if body.ids is not None:
        ids = list(dict.fromkeys(str(parse_row_id(each, name="ids")) for each in body.ids))
        return Selection.of({"ids": ids}), in_words(ids), {}
    if body.groups is not None:
        if body.action not in ("replay", "discard"):
            raise BadArgument("groups", "dead letters are replayed or discarded")
        causes = tuple(dead_letters.cause_of(key, app=console.reader) for key in body.groups)
        return Selection(causes=causes), f"groups {', '.join(body.groups[:5])}", {}
    return _of_filter(console, body.filter or WhichJobs())


def _of_filter(console: Console, which: WhichJobs) -> tuple[Selection, str, dict[str, str]]:
    words = words_in({name: str(value) for name, value in which.words().items()})
    if not words:
        raise BadArgument("filter", "narrow it: every job is meant by no filter")
    selection = operations.settled(Selection(wanted=filter_of(words)), app=console.reader)
    assert selection.wanted is not None
    kept = words_of(selection.wanted)
    return selection, options_of(words).strip(), kept
