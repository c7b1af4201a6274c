"""Addresses of databases: an entry of Django's DATABASES, written as a URL for SQLAlchemy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL

#: Options of Django's PostgreSQL backend that are not libpq's.
_OF_DJANGO = frozenset(
    {"assume_role", "client_encoding", "cursor_factory", "isolation_level", "pool", "server_side_binding"}
)

#: Vendors whose databases can have the ledger. PostGIS is one of PostgreSQL.
VENDORS = frozenset({"postgresql", "sqlite"})


def url_of(vendor: str, settings: Mapping[str, Any]) -> URL:
    """The URL of the database that ``settings``, an entry of DATABASES, names.

    >>> url_of("postgresql", {"NAME": "shop", "HOST": "db", "OPTIONS": {"sslmode": "require"}})
    postgresql+psycopg://db/shop?sslmode=require
    >>> url_of("sqlite", {"NAME": "/srv/shop.db"})
    sqlite:////srv/shop.db
    """
    if vendor == "sqlite":
        return URL.create("sqlite", database=str(settings["NAME"]))
    return URL.create(
        "postgresql+psycopg",
        username=settings.get("USER") or None,
        password=settings.get("PASSWORD") or None,
        host=str(settings.get("HOST") or "") or None,
        port=int(settings["PORT"]) if settings.get("PORT") else None,
        database=settings.get("NAME") or None,
        query=_libpq(settings.get("OPTIONS") or {}),
    )


def is_in_memory(vendor: str, name: object) -> bool:
    """Whether ``name`` is an SQLite database that is gone with its connection.

    >>> is_in_memory("sqlite", "file:memorydb_default?mode=memory&cache=shared")
    True
    """
    return vendor == "sqlite" and (":memory:" in str(name) or "mode=memory" in str(name))


def _libpq(options: Mapping[str, Any]) -> dict[str, str]:
    found = {name: str(value) for name, value in options.items() if name not in _OF_DJANGO}
    if role := options.get("assume_role"):
        found["options"] = f"{found.get('options', '')} -c role={role}".strip()
    return found
