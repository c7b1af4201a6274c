"""Errors that are shown to the user as a sentence, with the exit status of the command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from celeriac.display import safe
from celeriac.errors import (
    BadArgument,
    CeleriacError,
    InvalidSchedule,
    JobNotFound,
    LedgerTooNew,
    MigrationNeeded,
    PayloadTooLarge,
    StaticSchedule,
    UnknownTask,
)
from celeriac.ledger.connection.database import UNREACHABLE

REFUSED, TYPED_WRONGLY = 1, 2


@dataclass(frozen=True, slots=True)
class Refusal:
    sentence: str
    code: int


def refusal_of(error: Exception, app: Any) -> Refusal | None:
    """The refusal to show for ``error``; None for a bug of ours, which needs its traceback."""
    if isinstance(error, CeleriacError):
        wrongly = isinstance(error, _TYPED_WRONGLY) and not isinstance(error, StaticSchedule)
        code = TYPED_WRONGLY if wrongly else REFUSED
        sentence = safe(error)
        return Refusal(sentence if sentence.endswith("?") else sentence + _NEXT.get(type(error), ""), code)
    if isinstance(error, SQLAlchemyError | OSError):
        return Refusal(_of_the_database(error, app), REFUSED)
    return None


#: Errors of the command line itself, whatever is in the ledger.
_TYPED_WRONGLY = (BadArgument, InvalidSchedule, PayloadTooLarge, UnknownTask)

_NEXT = {
    JobNotFound: "; see `celery -A app jobs list`",
    UnknownTask: "; see `celery -A app inspect registered`",
}


def _of_the_database(error: Exception, app: Any) -> str:
    from celeriac.ledger import migrate

    try:
        migrate.require(app.database)
    except (LedgerTooNew, MigrationNeeded) as needed:
        return str(needed)
    except (SQLAlchemyError, OSError) as exc:
        error = exc
    reason = safe(str(getattr(error, "orig", None) or error).partition("\n")[0], length=300)
    if isinstance(error, UNREACHABLE):
        return f"the ledger's database cannot be reached: {reason}; see DATABASE_URL"
    return f"the ledger's database refused: {reason}; see `celery -A app db check`"
