"""What follows a job: the signatures that its message carries, and what may not stand in them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from celeriac.errors import BadArgument
from celeriac.ids import derived_id, parse_row_id, row_id
from celeriac.ledger.writes.new_jobs import NewJob

_KEY = "idempotency_key"

#: Where a signature has others, in its options and, if it is a canvas, in its keyword arguments.
_IN_OPTIONS = ("link", "link_error", "chain", "chord")
_IN_CANVAS = ("tasks", "header", "body")


def refuse_key_of_another(job: NewJob) -> None:
    """Refuse a key whose job has an id that does not follow from it.

    Raises:
        BadArgument: with what a key cannot stand beside.
    """
    key = job.idempotency_key
    if key is not None and str(job.id) != derived_id(job.job_type, key):
        raise BadArgument(
            _KEY,
            "its job has an id already, which the key would choose: a key is of a single call, without a "
            "task_id and in no group, chain or chord",
        )


def refuse_keys_and_bad_ids(embedded: Any) -> None:
    """Refuse a key or a bad task id in what follows a job: ids of a canvas are chosen when it is applied.

    Args:
        embedded: the last part of a message's body.

    Raises:
        BadArgument: one is there.
    """
    for signature in _signatures(list((embedded or {}).values())):
        options = signature.get("options") or {}
        if options.get("task_id") is not None:
            parse_row_id(options["task_id"])
        if options.get(_KEY) is not None:
            raise BadArgument(
                _KEY,
                f"{signature.get('task')} follows another job: a key is of a single call, not of a canvas",
            )


class LastSteps:
    """The last steps of the chains that this process has applied, by their ids; the latest of them.

    Celery 5.7 keeps the id of the last step in a chain that was applied. Applied again, its last step
    would be the one of before, which the ledger runs once.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        # By the last one's id: the first one's, and the job in which the chain was applied.
        self._known: OrderedDict[str, tuple[UUID, UUID | None]] = OrderedDict()

    def check(self, first: UUID, body: Any, *, parent: UUID | None, before: Any = None) -> None:
        """Refuse a chain whose last step is that of another.

        Args:
            parent: the job that applies it; a later attempt of it repeats what an earlier one did.
            before: what followed ``parent``. A step that replaces itself goes on to the same end.

        Raises:
            BadArgument: it is.
        """
        last = _last_step(body)
        if last == _id_of_last(before):
            return
        known = self._known.get(last) if last is not None else None
        if known is None or known[0] == first or (parent is not None and known[1] == parent):
            return
        raise BadArgument(
            "chain",
            f"it was applied before, and would end in the same job, {last}; make a new one, or apply a "
            "clone() of it each time",
        )

    def remember(self, first: UUID, body: Any, *, parent: UUID | None) -> None:
        """Note a chain that was applied."""
        last = _last_step(body)
        if last is not None:
            self._known[last] = first, parent
            if len(self._known) > self._most:
                self._known.popitem(last=False)


def _last_step(body: Any) -> str | None:
    return _id_of_last((body[2] or {}).get("chain"))


def _id_of_last(chain: Any) -> str | None:
    last = chain[0] if chain else None  # they are in reverse
    if isinstance(last, Mapping) and last.get("subtask_type") == "chord":
        last = (last.get("kwargs") or {}).get("body")
    return (last.get("options") or {}).get("task_id") if isinstance(last, Mapping) else None


def awaiting(body: Any) -> UUID | None:
    """The id of the chord's body that waits for the job of this message; None when there is none."""
    chord = (body[2] or {}).get("chord")
    return row_id((chord.get("options") or {}).get("task_id")) if isinstance(chord, Mapping) else None


def _signatures(found: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(found, list | tuple):
        for each in found:
            yield from _signatures(each)
    elif isinstance(found, Mapping) and "task" in found:
        yield found
        options = found.get("options") or {}
        for name in _IN_OPTIONS:
            yield from _signatures(options.get(name))
        if found.get("subtask_type"):
            kwargs = found.get("kwargs") or {}
            for name in _IN_CANVAS:
                yield from _signatures(kwargs.get(name))
