"""What an error of the database is about: its server, another transaction, or what was to be written.

Only the last is worth trying in smaller parts: the others pass, or fail for everything.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import DBAPIError, TimeoutError

from celeriac.errors import LedgerUnfit

#: Classes of SQLSTATE that say nothing of the values: connection, transaction state, roles, names of tables
#: and columns, resources, an operator's hand, the system (PostgreSQL's manual, appendix A).
_OF_THE_SERVER = frozenset({"08", "25", "28", "3D", "3F", "42", "53", "57", "58", "F0"})
#: A deadlock, a serialization failure: PostgreSQL ended one transaction for the sake of another.
_CONFLICTS = frozenset({"40001", "40P01"})
#: A lock that was not given in time, a statement that took too long.
_TOO_LATE = frozenset({"55P03", "57014"})
_READ_ONLY, _MAY_NOT = "25006", "42501"
_NO_SUCH = frozenset({"42P01", "42703", "3F000"})  # table, column, schema

#: Of SQLite, by name: its OperationalError is a lock, a full disk, a file that cannot be written.
_OF_VALUES = frozenset({"IntegrityError", "DataError", "ProgrammingError"})


def is_conflict(error: BaseException) -> bool:
    """Whether the same transaction may well succeed when it is tried again at once."""
    return _state(error) in _CONFLICTS


def as_unfit(error: BaseException) -> LedgerUnfit | None:
    """What to say of a database that answers, and cannot keep the ledger as it is; None: of another error."""
    state = _state(error)
    if state == _READ_ONLY:
        return LedgerUnfit("it takes no writes now: it is a standby, or was set read-only")
    if state == _MAY_NOT:
        return LedgerUnfit(f"the role of DATABASE_URL lacks a right: {said(error)}")
    if state in _NO_SUCH or "no such table" in str(_cause(error)):
        return LedgerUnfit("its tables are not those of this version: run `celery -A app db upgrade`")
    return None


def is_of_values(error: BaseException) -> bool:
    """Whether what was to be written is refused, so that the rest may be written without it."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return False
    if isinstance(error, LedgerUnfit | TimeoutError | OSError | MemoryError):
        return False
    state = _state(error)
    if state is not None:
        return state[:2] not in _OF_THE_SERVER and state not in _CONFLICTS | _TOO_LATE
    cause = _cause(error)
    if type(cause).__module__.partition(".")[0] in ("sqlite3", "psycopg"):
        return type(cause).__name__ in _OF_VALUES
    return isinstance(error, Exception)  # of Python: what cannot be written as JSON, or is too large


def said(error: BaseException) -> str:
    """The first line of what was said, in ASCII: what cannot be written may be a character."""
    cause = _cause(error)
    return ascii_of((str(cause).strip() or type(cause).__name__).splitlines()[0])[:500]


def ascii_of(text: str) -> str:
    """``text`` with what is not ASCII written out.

    >>> ascii_of("price in \u20ac").isascii()
    True
    """
    return text.encode("ascii", "backslashreplace").decode("ascii")


def kind(error: BaseException) -> str:
    """The error's type, for people."""
    cause = type(_cause(error))
    return cause.__name__ if cause.__module__ == "builtins" else f"{cause.__module__}.{cause.__name__}"


def _cause(error: BaseException) -> BaseException:
    found: Any = getattr(error, "orig", None)  # of SQLAlchemy, which wraps the driver's and Python's
    return found if isinstance(found, BaseException) else error


def _state(error: BaseException) -> str | None:
    state = getattr(_cause(error), "sqlstate", None)
    return state if isinstance(state, str) else None
