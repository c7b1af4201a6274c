"""Flower's HTTP API: what the platform refuses is answered with its sentence, not with an empty 500."""

from __future__ import annotations

from typing import Any

from flower.api import BaseApiHandler
from flower.urls import handlers
from sqlalchemy.exc import SQLAlchemyError

from celeriac.display import safe
from celeriac.errors import CeleriacError, EnqueueError, EnqueueUncertain, LedgerUnavailable, UnknownTask

#: The status of a refusal; the first that fits.
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (UnknownTask, 404),
    (LedgerUnavailable, 503),
    (EnqueueUncertain, 503),
    (SQLAlchemyError, 503),
    (EnqueueError, 400),
    (CeleriacError, 400),
    (TypeError, 400),  # of options that no call takes
    (ValueError, 400),
)


def install() -> None:
    """Put our handlers in the place of Flower's own, before it makes its application of them."""
    for number, handler in enumerate(handlers):
        if isinstance(handler, tuple) and issubclass(handler[1], BaseApiHandler):
            handlers[number] = (handler[0], _explaining(handler[1]))


def status_of(error: BaseException) -> int | None:
    """The HTTP status of a refusal; None of what is none."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), None)


def _explaining(kind: type[Any]) -> type[Any]:
    if issubclass(kind, ExplainingHandler):
        return kind
    return type(kind.__name__, (ExplainingHandler, kind), {})


class ExplainingHandler(BaseApiHandler):
    """An API handler that says why."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = (kwargs.get("exc_info") or (None, None))[1]
        cause = getattr(error, "__cause__", None) or error  # Flower's runner raises a bare 500 from it
        status = status_of(cause) if status_code == 500 and cause is not None else None
        if status is None:
            super().write_error(status_code, **kwargs)
            return
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(safe(cause, length=500) if isinstance(cause, CeleriacError) else _of(cause))


def _of(error: BaseException | None) -> str:
    """What is no sentence of ours; of a database's, only what it is about."""
    if isinstance(error, SQLAlchemyError):
        return "the ledger's database cannot be reached, or refused"
    return safe(f"{type(error).__name__}: {error}", length=500)
