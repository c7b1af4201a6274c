"""What every action on jobs shares: count first, ask, then begin, and show how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from celeriac.console.changes import log_action, log_change
from celeriac.console.page_request import PageRequest
from celeriac.display import counted
from celeriac.errors import BadArgument, JobNotFound
from celeriac.ids import parse_row_id
from celeriac.operate.acting import operations
from celeriac.operate.acting.operations import Operation, Plan
from celeriac.operate.acting.runner import SILENT
from celeriac.operate.presentation.action_shapes import operation_shape

#: From here on the number must be typed.
TYPED_ABOVE = 1_000
_MOST_SELECTED = 1_000
_LISTED = 50  # jobs or groups that the page of an action links


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked before an action on jobs begins.

    Attributes:
        back: the address of the page that it came from.
        command: the words behind ``celery -A app`` that do the same; empty: none does.
    """

    plan: Plan
    words: str  # as "cancel for ever"
    count: int
    back: str
    command: str


def ask_or_begin(ask: PageRequest, question: Question, *, hidden: Sequence[tuple[str, str]] = ()) -> Response:
    """The page with the question; or the action begins, when the question was answered.

    Args:
        hidden: fields of the next form besides those of this one.
    """
    if not question.count:
        return ask.go(question.back, saying="no job fits: nothing was done")
    wrong = ""
    if answer := ask.given("counted"):
        typed = "".join(sign for sign in ask.given("typed") if sign.isdecimal())
        if question.count <= TYPED_ABOVE or typed == answer:
            return _begin(ask, question)
        wrong = f"type {answer} to go on"
    kept = [(name, value) for name, values in ask.form.items() for value in values if name not in _ANSWERS]
    told = {"count": question.count, "action": question.plan.action, "jobs": question.plan.subject}
    return ask.show(
        "confirm.html",
        command=question.command,
        told=told,
        question=question,
        asked=f"{question.words} {counted(question.count, 'job')}?",
        fields=[*kept, *hidden],
        typed=question.count > TYPED_ABOVE,
        reason=ask.given("reason"),
        wrong=wrong,
    )


_ANSWERS = ("counted", "typed", "reason", "form_token")


def _begin(ask: PageRequest, question: Question) -> Response:
    plan = question.plan
    id = operations.begin(
        plan, by=ask.actor, counted=question.count, reason=ask.given("reason"), app=ask.console.app
    )
    log_action(ask.visitor.name, plan.action, plan.subject, jobs=question.count)
    ask.console.runner.wake()
    return ask.go(ask.url(f"/operations/{id}"))


def selected(ask: PageRequest) -> list[str]:
    """The ids of the jobs that were ticked.

    Raises:
        BadArgument: one is no id, or there are too many.
    """
    ids = [str(parse_row_id(each, name="id")) for each in dict.fromkeys(ask.form.get("id", []))]
    if len(ids) > _MOST_SELECTED:
        raise BadArgument("id", f"wanted at most {_MOST_SELECTED:,} jobs, found {len(ids):,}; use a filter")
    return ids


def show_operation(ask: PageRequest) -> Response:
    one = _found(ask)
    selection, action = one.selection, one.action
    return ask.show(
        "operation.html",
        command="audit",
        told={"operation": operation_shape(one)},
        one=one,
        action=action,
        total=action.counted or action.done,
        ids=[str(id) for id in (selection.ids or ())[:_LISTED]],
        causes=(selection.causes or ())[:_LISTED],
        left=action.ended is None and datetime.now(UTC) - action.touched > timedelta(seconds=2 * SILENT),
    )


def stop_operation(ask: PageRequest) -> Response:
    """The batch that it is at is still done."""
    found = _found(ask)
    operations.stop(found.action.id, by=ask.actor, app=ask.console.app)
    log_change(ask.visitor.name, "stopped", found.action.id)
    return ask.go(ask.url(f"/operations/{found.action.id}"))


def _found(ask: PageRequest) -> Operation:
    found = operations.find(ask.path("id"), app=ask.app)
    if found is None:
        raise JobNotFound(ask.path("id"))
    return found
