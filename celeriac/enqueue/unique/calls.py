"""Read from a message which other calls mean the same job, and when a debounced one is due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celeriac.errors import BadArgument
from celeriac.headers import CHORD, DUE, FOLLOWS, UNIQUE
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.limits.answer import ANSWER
from celeriac.limits.unique import Rule
from celeriac.limits.unique_key import KeyMaker, UniqueCall
from celeriac.limits.unique_rules import of_call

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_OURS = (UNIQUE, FOLLOWS, DUE)


def after_its_wait(job: NewJob) -> NewJob:
    """``job``; a debounced one is due when no other call has come for so long.

    Raises:
        BadArgument: the call says itself when it is due.
    """
    wait = None if job.unique is None else job.unique.rule.wait
    if wait is None:
        return job
    if not job.due_at_once:
        reason = f"{job.job_type} is due {wait:g} s after its last call"
        raise BadArgument("debounce", f"{reason}: no countdown, no eta, or say debounce=False")
    return replace(job, delay=wait)


class UniqueReader:
    """Reads the keys of the messages that one app is about to publish."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app

    def call(
        self, task: Any, body: Any, options: Mapping[str, Any], headers: dict[str, Any]
    ) -> UniqueCall | None:
        """What the call says of its key; its message says it, too. A retry is the same job, with what it has.

        Raises:
            BadArgument: the rule means nothing here, or an argument of the key is not there.
        """
        before = {name: headers.pop(name) for name in _OURS if name in headers}
        rule = of_call(options, None if task is None else task._uniqueness)
        if headers.get("retries"):
            headers |= before
            return None
        if rule is None:
            return None
        name = headers["task"]
        if CHORD in headers:
            raise BadArgument(
                rule.option,
                f"{name} is the body of a chord, which waits for its members and cannot be answered by "
                f"another job: enqueue it from a body of its own, or say .set({rule.option}=False)",
            )
        self._check_period(rule, task)
        key = KeyMaker(name, None if task is None else task._called, rule).key(body[0] or (), body[1] or {})
        found = UniqueCall(key, rule, promised=ANSWER not in options or any((body[2] or {}).values()))
        headers[UNIQUE] = found.written()
        return found

    def _check_period(self, rule: Rule, task: Any) -> None:
        """A key that is held for a time names its job all the while: the row must be there."""
        settings = self._app.settings
        own = getattr(task, "keep_days", None)
        days = min(settings.keep_days if own is None else own, settings.keep_dead_days)
        if rule.period > days * 86_400:
            text = f"a period of {rule.period / 86_400:g} days is longer than jobs are kept: {days:g} days"
            raise BadArgument(rule.option, text)
