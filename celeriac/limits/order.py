"""An order: jobs with the same key run one at a time, as they were accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celeriac import names
from celeriac.errors import BadArgument
from celeriac.limits.limit import LONGEST_NAME, ORDERED, Limit

#: What becomes of a job that failed and will be tried again: it holds its key, or lets others pass.
HOLD, STEP_ASIDE = "hold", "step aside"


@dataclass(frozen=True, slots=True)
class OrderedBy:
    """One job at a time of each key, in the order of their acceptance, in the whole fleet.

    ``ordered_by="account_id"`` is the short form of ``ordered_by=OrderedBy("account_id")``.

    Attributes:
        key: the name of an argument, or a function of the call's arguments.
        within: tasks that say the same name here have one order together; None: the task's own.
        on_failure: ``"hold"``: while a job waits for its next attempt, the later ones of its key wait too;
            ``"step aside"``: they go on, and so do those behind one that is delayed.

    Raises:
        BadArgument: it can mean nothing.

    >>> @shared_task(name="bank.book", ordered_by=OrderedBy("account_id", within="accounts"))
    ... def book(account_id, amount): return amount
    >>> ids = [book.delay(7, 10).id, book.delay(7, -5).id]
    >>> sorted(job.result for job in kit.drain())
    [-5, 10]
    """

    key: str | Callable[..., object]
    within: str | None = None
    on_failure: str = HOLD

    def __post_init__(self) -> None:
        if not (isinstance(self.key, str) and self.key) and not callable(self.key):
            raise BadArgument("ordered_by", f"wanted an argument's name, found {self.key!r}")
        if self.on_failure not in (HOLD, STEP_ASIDE):
            raise BadArgument("on_failure", f"wanted {HOLD!r} or {STEP_ASIDE!r}, found {self.on_failure!r}")
        if self.within is not None:
            _check(self.within)

    def _limit(self, task: str) -> Limit:
        """The limit that keeps it: one at a time of each key.

        Raises:
            BadArgument: the task's name can be none of an order.
        """
        return OrderLimit(
            f"{ORDERED}{_check(self.within or task)}", concurrency=1, key=self.key, on_failure=self.on_failure
        )


@dataclass(frozen=True, slots=True)
class OrderLimit(Limit):
    """The limit of an order."""

    on_failure: str = HOLD

    @property
    def _rule(self) -> tuple[object, ...]:
        return (self.on_failure,)

    @property
    def _said(self) -> str:
        return f"on_failure {self.on_failure!r}"


def declared_order(value: Any) -> OrderedBy | None:
    """The order of a task, from what its ``ordered_by`` says.

    Raises:
        BadArgument: it can mean nothing.
    """
    if value is None or isinstance(value, OrderedBy):
        return value
    if isinstance(value, str):
        return OrderedBy(value)
    raise BadArgument("ordered_by", f"wanted an argument's name or an OrderedBy, found {value!r}")


def _check(name: str) -> str:
    names.check_text("ordered_by, within", name, length=LONGEST_NAME)
    if ":" in name:
        raise BadArgument("ordered_by", f"its name must not have a colon, found {name!r}: say within=…")
    return name
