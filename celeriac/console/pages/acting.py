"""What every action on jobs shares: count first, ask, then begin, and show how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from celeriac.console.operations import Act, Operation
from celeriac.console.page_request import PageRequest
from celeriac.display import counted
from celeriac.errors import BadArgument, JobNotFound
from celeriac.ids import parse_row_id

#: From here on the number must be typed.
TYPED_ABOVE = 1_000
_MOST_SELECTED = 1_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    what: str  # as "cancel (soft)"
    which: str  # which jobs, in words
    count: int
    act: Act
    back: str  # the address of the page that it came from
    command: str  # the words behind ``celery -A app`` that do the same; empty: none does


def ask_or_start(ask: PageRequest, plan: Plan, *, hidden: Sequence[tuple[str, str]] = ()) -> Response:
    """The page with the question; or the action begins, when the question was answered.

    Args:
        hidden: fields of the next form besides those of this one.
    """
    if not plan.count:
        return ask.go(plan.back, saying="no job fits: nothing was done")
    wrong = ""
    if answer := ask.given("counted"):
        typed = "".join(sign for sign in ask.given("typed") if sign.isdecimal())
        if plan.count <= TYPED_ABOVE or typed == answer:
            return _start(ask, plan)
        wrong = f"type {answer} to go on"
    kept = [(name, value) for name, values in ask.form.items() for value in values if name not in _ANSWERS]
    return ask.show(
        "confirm.html",
        command=plan.command,
        told={"count": plan.count, "action": plan.what, "jobs": plan.which},
        plan=plan,
        question=f"{plan.what} {counted(plan.count, 'job')}?",
        fields=[*kept, *hidden],
        typed=plan.count > TYPED_ABOVE,
        wrong=wrong,
    )


_ANSWERS = ("counted", "typed", "form_token")


def _start(ask: PageRequest, plan: Plan) -> Response:
    operation = Operation(
        who=ask.visitor.name, what=plan.what, which=plan.which, total=plan.count, back=plan.back
    )
    ask.console.operations.start(operation, plan.act)
    return ask.go(ask.url(f"/operations/{operation.id}"))


def selected(ask: PageRequest) -> list[str]:
    """The ids of the jobs that were ticked.

    Raises:
        BadArgument: one is no id, or there are too many.
    """
    ids = [str(parse_row_id(each, name="id")) for each in dict.fromkeys(ask.form.get("id", []))]
    if len(ids) > _MOST_SELECTED:
        raise BadArgument("id", f"wanted at most {_MOST_SELECTED:,} jobs, found {len(ids):,}; use a filter")
    return ids


def one_by_one(ids: Sequence[str], do: Callable[[str], bool]) -> Act:
    """An action on these jobs."""

    def act(progress: Callable[[int], None]) -> int:
        done = 0
        for id in ids:
            done += bool(do(id))
            progress(done)
        return done

    return act


def show_operations(ask: PageRequest) -> Response:
    found = ask.console.operations.latest()
    told = {"operations": [one.shape() for one in found]}
    return ask.show("operations.html", command="jobs watch", told=told, operations=found)


def show_operation(ask: PageRequest) -> Response:
    found = _found(ask)
    return ask.show("operation.html", command="jobs watch", told={"operation": found.shape()}, one=found)


def stop_operation(ask: PageRequest) -> Response:
    """The batch that it is at is still done."""
    found = _found(ask)
    found.stopping = True
    return ask.go(ask.url(f"/operations/{found.id}"))


def _found(ask: PageRequest) -> Operation:
    found = ask.console.operations.find(ask.path("id"))
    if found is None:
        raise JobNotFound(ask.path("id"))
    return found
