"""Make Flower's HTTP API answer a refusal with its sentence and status, not with an empty 500."""

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
    (TypeError, 400),  # an option that the call does not take
    (ValueError, 400),
)


def install() -> None:
    """Replace Flower's API handlers by ours. Call it before Flower makes its application."""
    for number, handler in enumerate(handlers):
        if isinstance(handler, tuple) and issubclass(handler[1], BaseApiHandler):
            handlers[number] = (handler[0], _explaining(handler[1]))


def status_of(error: BaseException) -> int | None:
    """The HTTP status of a refusal; None when the error is none."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), None)


def _explaining(kind: type[Any]) -> type[Any]:
    if issubclass(kind, ExplainingHandler):
        return kind
    return type(kind.__name__, (ExplainingHandler, kind), {})


class ExplainingHandler(BaseApiHandler):
    """An API handler whose error response has the reason."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = (kwargs.get("exc_info") or (None, None))[1]
        cause = getattr(error, "__cause__", None) or error  # Flower raises a bare 500 from the real error
        status = status_of(cause) if status_code == 500 and cause is not None else None
        if status is None:
            super().write_error(status_code, **kwargs)
            return
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(safe(cause, length=500) if isinstance(cause, CeleriacError) else _of(cause))


def _of(error: BaseException | None) -> str:
    """The text for an error that is not ours. A database's own text is not shown: it may hold data."""
    if isinstance(error, SQLAlchemyError):
        return "the ledger's database cannot be reached, or refused"
    return safe(f"{type(error).__name__}: {error}", length=500)
