"""Set up a new connection to PostgreSQL: within a time limit, and only to a server that can keep the ledger.

The session's settings are made once, where the session is ours alone. Behind a PgBouncer in transaction mode
others share it. There each BEGIN sets what the ledger relies on, and what cannot be set so is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import OperationalError

from celeriac.errors import LedgerUnfit

_ENCODING = "UTF8"
_ISOLATION = "read committed"

#: Seconds that a statement waits for a row or a table that another transaction has locked.
LOCK_PATIENCE = 5.0

#: Seconds after which the server ends a transaction whose client sends nothing more.
_IDLE_LIMIT = 60.0

#: The SQLSTATE that its client gets then.
ENDED_IDLE = "25P03"

#: Settings of PostgreSQL. Planning a statement of a few rows anew takes as long as executing it.
_PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

_SERVER_FACTS = """
    SELECT extract(epoch FROM clock_timestamp())::float8, pg_backend_pid(), pg_is_in_recovery(),
        current_setting('server_encoding'), current_setting('default_transaction_read_only'),
        current_setting('default_transaction_isolation')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server says of itself when a connection is made.

    Attributes:
        pooled: whether a pooler stands in between, which gives the session to other clients as well.
    """

    standby: bool
    encoding: str
    read_only: bool
    isolation: str
    pooled: bool


def why_unfit(found: ServerFacts) -> str | None:
    """Why the server cannot keep the ledger, with the remedy; None: it can."""
    if found.encoding != _ENCODING:
        return (
            f"its encoding is {found.encoding}, wanted {_ENCODING}: make a new one with "
            f"CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and name it in DATABASE_URL"
        )
    if found.standby:
        return "it is a standby, which takes no writes: name the primary in DATABASE_URL"
    if found.read_only:
        return (
            "it is read-only (default_transaction_read_only is on): set that off for this role and database"
        )
    if found.pooled and found.isolation != _ISOLATION:
        return (
            f"behind the pooler a statement would be {found.isolation}, wanted {_ISOLATION}: "
            f"ALTER ROLE … SET default_transaction_isolation = '{_ISOLATION}'"
        )
    return None


def prepare(driver: Any, info: Any, *, longest: float | None, generic_plans: bool) -> Any:
    """Read the server's clock, check the server, set the session; return ``driver``, closed if that fails.

    Args:
        driver: a new connection of psycopg.
        info: the mapping in which the facts about the connection are stored.
        longest: seconds that a statement may take.
        generic_plans: whether statements are planned once, through the key.

    Raises:
        LedgerUnfit: with the reason and the remedy.
    """
    try:
        with driver.cursor() as cursor:
            _check_server(driver, cursor, info)
            if not info["pooled"]:
                _set_all(cursor, _settings(longest, generic_plans))
            elif not driver.info.parameter_status("DateStyle").startswith("ISO"):
                _set_all(cursor, {"datestyle": "ISO"})  # PgBouncer keeps this setting for each of its clients
        driver.commit()
    except BaseException:  # also an interrupt must not leave the connection open
        driver.close()
        raise
    return driver


def _check_server(driver: Any, cursor: Any, info: Any) -> None:
    before = time.monotonic()
    cursor.execute(_SERVER_FACTS)
    clock, pid, standby, encoding, read_only, isolation = cursor.fetchall()[0]
    info["clock"] = clock - (before + time.monotonic()) / 2
    info["pooled"] = pooled = pid != driver.info.backend_pid
    found = ServerFacts(
        standby=standby, encoding=encoding, read_only=read_only == "on", isolation=isolation, pooled=pooled
    )
    if (reason := why_unfit(found)) is not None:
        raise LedgerUnfit(reason)


def _set_all(cursor: Any, settings: Mapping[str, str]) -> None:
    """Make all settings with one round trip."""
    calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
    cursor.execute(f"SELECT {calls}", [text for pair in settings.items() for text in pair], prepare=False)


def _settings(longest: float | None, generic_plans: bool) -> dict[str, str]:
    return {
        "datestyle": "ISO",
        "default_transaction_isolation": _ISOLATION,
        "idle_in_transaction_session_timeout": _milliseconds(_IDLE_LIMIT),
        **time_limits(longest),
        **(_PLANS if generic_plans else {}),
    }


def time_limits(longest: float | None) -> dict[str, str]:
    """PostgreSQL's settings for how long a statement may take and wait; they win over the role's."""
    return {
        "statement_timeout": _milliseconds(longest or 0),
        "lock_timeout": _milliseconds(min(longest or 0, LOCK_PATIENCE)),
    }


def begin_texts(longest: float | None) -> list[str]:
    """A BEGIN that sets what the ledger relies on, for a session that others share."""
    local = [f"SET LOCAL {name} = {value}" for name, value in time_limits(longest).items()]
    return [f"BEGIN ISOLATION LEVEL {_ISOLATION.upper()}", *local]


def statement_limit(seconds: float) -> str:
    """A statement that sets how many seconds each following one of the transaction may take."""
    return f"SET LOCAL statement_timeout = {_milliseconds(seconds)}"


def idle_limit(seconds: float) -> str:
    """A statement that has the server end a transaction whose client sends nothing for so many seconds."""
    return f"SET LOCAL idle_in_transaction_session_timeout = {_milliseconds(seconds)}"


def idle_end_as_unreachable(context: ExceptionContext) -> BaseException | None:
    """An ``OperationalError`` where the server has ended an idle transaction; psycopg raises an internal one.

    A handler of SQLAlchemy's event ``handle_error``.
    """
    error = context.original_exception
    if getattr(error, "sqlstate", None) != ENDED_IDLE:
        return None
    return OperationalError(context.statement, None, error, hide_parameters=True, connection_invalidated=True)


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def connect_within(patience: float, connect: Callable[[], Any], failure: Callable[[str], Exception]) -> Any:
    """Call ``connect`` in a thread and wait ``patience`` seconds for it; raise ``failure`` after that.

    libpq itself waits at least two seconds for a server that does not answer.
    """
    outcome: list[Any] = []
    deciding = threading.Lock()  # or one that comes at the last moment would be nobody's, and stay open
    gave_up = False
    done = threading.Event()

    def attempt() -> None:
        try:
            made = connect()
        except BaseException as exc:  # handed to the caller, whatever it is
            made = exc
        with deciding:
            late = gave_up
            outcome.append(made)
        done.set()
        if late and not isinstance(made, BaseException):
            made.close()

    threading.Thread(target=attempt, name="ledger-connect", daemon=True).start()
    if not done.wait(patience):
        with deciding:
            gave_up = not outcome
    if gave_up:
        raise failure(f"no connection within {patience:g} seconds")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
