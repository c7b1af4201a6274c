"""Tokens of programs that use the HTTP API: made, shown, revoked, and known again. None is kept as it is."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from celeriac.application import current_app
from celeriac.errors import BadArgument
from celeriac.ledger.operators import api_tokens as ledger
from celeriac.names import NAME_LENGTH, check_text
from celeriac.operate import actions
from celeriac.operate.actions import Actor

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from celeriac.application import Celeriac

#: Before every token, so that a scan for secrets finds one in a file, and that it is told from another's.
PREFIX = "clr_"
LONGEST = timedelta(days=3650)
_RANDOM = 32  # bytes: guesses need no throttle, and a fast hash is enough
_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A token, but for the token itself."""

    name: str
    role: str
    created: datetime
    created_by: str
    expires: datetime
    last_used: datetime | None  # to the minute; None: never
    expired: bool


def create(name: str, *, role: str, lasts: timedelta, actor: Actor, app: Celeriac | None = None) -> str:
    """Make a token and return it. It cannot be seen again.

    Raises:
        BadArgument: the name cannot be used, or is another token's; or it would last too long.
    """
    check_text("name", name, length=NAME_LENGTH - len("token:"))
    if not timedelta(minutes=1) <= lasts <= LONGEST:
        raise BadArgument("expires", f"wanted one minute to {LONGEST.days:,} days")
    made = PREFIX + secrets.token_urlsafe(_RANDOM)
    with current_app(app).database.transaction() as connection:
        added = ledger.add(
            connection,
            name=name,
            digest=digest(made),
            role=role,
            created_by=actor.who,
            lasts=lasts.total_seconds(),
        )
        if added:
            _record(connection, "token create", name, actor)
    if not added:
        raise BadArgument("name", f"there is a token named {name!r}; revoke it first, or choose another")
    return made


def list_all(*, app: Celeriac | None = None) -> list[ApiToken]:
    """Every token, by name; expired ones as well."""
    with current_app(app).database.reading() as connection:
        return [_token(row) for row in ledger.listing(connection)]


def revoke(name: str, *, actor: Actor, app: Celeriac | None = None) -> None:
    """Remove a token: a console refuses it within two seconds.

    Raises:
        BadArgument: no token has this name.
    """
    with current_app(app).database.transaction() as connection:
        removed = ledger.remove(connection, name)
        if removed:
            _record(connection, "token revoke", name, actor)
    if not removed:
        raise BadArgument("name", f"no token is named {name!r}; see `celery -A app tokens list`")


def find(token: str, *, app: Celeriac | None = None) -> ApiToken | None:
    """The token that this text is, also when it has expired; None: it is none."""
    if not is_one(token):
        return None
    with current_app(app).database.reading() as connection:
        row = ledger.find(connection, digest(token))
    return None if row is None else _token(row)


def mark_used(name: str, *, app: Celeriac | None = None) -> None:
    """Note that the token was used now; at most once a minute it is written."""
    with current_app(app).database.statement() as connection:
        ledger.mark_used(connection, name)


def is_one(text: str) -> bool:
    """Whether this may be a token of ours.

    >>> is_one("clr_" + "a" * 43), is_one("eyJhbGciOi.J9.x")
    (True, False)
    """
    return _TOKEN.fullmatch(text) is not None


def digest(token: str) -> bytes:
    """What is kept of a token."""
    return sha256(token.encode()).digest()


def _record(connection: Connection, action: str, name: str, actor: Actor) -> None:
    subject = f"token {name}"
    actions.record(action, who=actor.who, via=actor.via, subject=subject, connection=connection)


def _token(row: Any) -> ApiToken:
    return ApiToken(
        name=row.name,
        role=row.role,
        created=row.created,
        created_by=row.created_by,
        expires=row.expires,
        last_used=row.last_used,
        expired=bool(row.expired),
    )
