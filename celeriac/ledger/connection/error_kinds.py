"""What an error of the database is about: its server, another transaction, or the values to be written.

Only an error about values is worth trying again in smaller parts. The others pass, or fail for every part.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import DBAPIError, TimeoutError

from celeriac.errors import LedgerUnfit

#: Classes of SQLSTATE that are not about values: connection, transaction state, roles, names of tables and
#: columns, resources, an operator's intervention, the system (PostgreSQL's manual, appendix A).
_OF_THE_SERVER = frozenset({"08", "25", "28", "3D", "3F", "42", "53", "57", "58", "F0"})
#: A deadlock, a serialization failure: PostgreSQL ended one transaction for the sake of another.
_CONFLICTS = frozenset({"40001", "40P01"})
#: A lock that was not free in time, a statement that took too long.
_CANCELED, _NOT_FREE = "57014", "55P03"
_TOO_LATE = frozenset({_NOT_FREE, _CANCELED})
_READ_ONLY, _MAY_NOT = "25006", "42501"
_NO_SUCH = frozenset({"42P01", "42703", "3F000"})  # table, column, schema

#: SQLite's errors about values, by name. Its OperationalError is a lock, a full disk or an unwritable file.
_OF_VALUES = frozenset({"IntegrityError", "DataError", "ProgrammingError"})


def is_conflict(error: BaseException) -> bool:
    """Whether the same transaction may succeed when it is tried again at once."""
    return _state(error) in _CONFLICTS


def took_too_long(error: BaseException) -> bool:
    """Whether the database ended a statement because it took longer than it may."""
    return _state(error) == _CANCELED or str(_cause(error)) == "interrupted"  # SQLite has no code for it here


def waited_too_long(error: BaseException) -> bool:
    """Whether a lock was not free in the time that a statement may wait for one."""
    return _state(error) == _NOT_FREE


def lacks_a_right(error: BaseException) -> bool:
    """Whether the role may not do it."""
    return _state(error) == _MAY_NOT


def as_unfit(error: BaseException) -> LedgerUnfit | None:
    """The error as a LedgerUnfit, if the database answers but cannot keep the ledger; None: another error."""
    state = _state(error)
    if state == _READ_ONLY:
        return LedgerUnfit("it takes no writes now: it is a standby, or was set read-only")
    if state == _MAY_NOT:
        return LedgerUnfit(f"the role of DATABASE_URL lacks a right: {said(error)}")
    if state in _NO_SUCH or "no such table" in str(_cause(error)):
        return LedgerUnfit("its tables are not those of this version: run `celery -A app db upgrade`")
    return None


def is_of_values(error: BaseException) -> bool:
    """Whether the database refuses the values to be written; the other values of the batch may be fine."""
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
    return isinstance(error, Exception)  # raised by Python: a value that is no JSON, or is too large


def said(error: BaseException) -> str:
    """The first line of the error's text, in ASCII: the value that cannot be written may be a character."""
    cause = _cause(error)
    return ascii_of((str(cause).strip() or type(cause).__name__).splitlines()[0])[:500]


def ascii_of(text: str) -> str:
    """``text`` with every other character as an escape.

    >>> ascii_of("price in \u20ac").isascii()
    True
    """
    return text.encode("ascii", "backslashreplace").decode("ascii")


def kind(error: BaseException) -> str:
    """The error's type, for people."""
    cause = type(_cause(error))
    return cause.__name__ if cause.__module__ == "builtins" else f"{cause.__module__}.{cause.__name__}"


def _cause(error: BaseException) -> BaseException:
    found: Any = getattr(error, "orig", None)  # SQLAlchemy wraps errors of the driver
    return found if isinstance(found, BaseException) else error


def _state(error: BaseException) -> str | None:
    state = getattr(_cause(error), "sqlstate", None)
    return state if isinstance(state, str) else None
