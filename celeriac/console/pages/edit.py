"""``/jobs/{id}/edit``: replay a dead letter with other arguments, after a look at what is different."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from celeriac.console import argument_form
from celeriac.console.argument_form import Arguments, Change, Field, is_hidden
from celeriac.console.changes import log_change
from celeriac.console.page_request import PageRequest
from celeriac.errors import BadArgument
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.acting import argument_types, one_job
from celeriac.operate.job import Job, job
from celeriac.operate.listing import resolve

_PREFIX = "value-"  # of the names of the fields that hold arguments


def show(ask: PageRequest) -> Response:
    found, task, old = _job(ask)
    return _form(ask, found, argument_form.fields_of(task, old))


def act(ask: PageRequest) -> Response:
    """Show what would be different; with ``confirmed`` replay it so."""
    found, task, old = _job(ask)
    before = argument_form.fields_of(task, old)
    texts = {one.name: ask.given(f"{_PREFIX}{one.name}") for one in before}
    typed = [_with_text(one, texts[one.name]) for one in before]
    try:
        new = argument_form.read(task, old, texts)
        if task is not None:
            argument_types.check(task, *new)
        if ask.given("confirmed"):
            return _replayed(ask, found, new)
    except BadArgument as exc:
        return _form(ask, found, typed, wrong=str(exc))
    shown = argument_form.fields_of(task, new)
    if len(shown) != len(before):  # the old ones do not fit the task's signature any more
        shown = argument_form.fields_of(None, new)
    changes = argument_form.changes(before, typed, shown)
    kept = [_to_keep(*each) for each in zip(typed, shown, strict=True)]
    return _form(ask, found, kept, changes=changes)


def _replayed(ask: PageRequest, found: Job, new: Arguments) -> Response:
    done = one_job.replay(
        found.id, by=ask.actor, args=new[0], kwargs=new[1], reason=ask.given("reason"), app=ask.console.app
    )
    if done:
        log_change(ask.visitor.name, "replay with other arguments", found.id)
    said = "replayed with these arguments" if done else "it is no dead letter any more"
    return ask.go(ask.url(f"/jobs/{found.id}"), saying=said)


def _form(
    ask: PageRequest,
    found: Job,
    fields: Sequence[Field],
    *,
    changes: Sequence[Change] | None = None,
    wrong: str = "",
) -> Response:
    told = {"id": found.id, "changes": changes, "wrong": wrong or None}
    return ask.show(
        "edit.html",
        command=f"jobs replay {found.id} --help",
        told=told,
        status=400 if wrong else 200,
        job=found,
        fields=fields,
        prefix=_PREFIX,
        changes=changes,
        reason=ask.given("reason"),
        wrong=wrong,
    )


def _job(ask: PageRequest) -> tuple[Job, Any, Arguments]:
    """The dead letter, its task (None: not known here) and its arguments.

    Raises:
        BadArgument: it is none, or its arguments cannot be read.
    """
    found = job(resolve(ask.path("id"), app=ask.app), app=ask.app)
    if found.state is not JobState.FAILED:
        raise BadArgument("id", f"job {found.id} is {found.state}, only dead letters are edited")
    if found.args is None or found.kwargs is None:
        raise BadArgument("id", f"the arguments of job {found.id} cannot be read")
    ask.app.loader.import_default_modules()
    return found, ask.app.tasks.get(found.task), (found.args, found.kwargs)


def _with_text(one: Field, text: str) -> Field:
    return Field(name=one.name, text=text, wanted=one.wanted, optional=one.optional)


def _to_keep(typed: Field, shown: Field) -> Field:
    """What the next form has: a secret that was typed must not be hidden there, or it would be lost."""
    return typed if is_hidden(shown) and not is_hidden(typed) else shown
