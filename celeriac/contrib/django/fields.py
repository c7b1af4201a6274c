"""Model fields for columns that PostgreSQL and SQLite keep differently."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from celeriac.ledger.schema.columns import from_microseconds, microseconds


class InstantField(models.DateTimeField):
    """A moment of the ledger's: ``timestamptz`` on PostgreSQL, integer microseconds since 1970 on SQLite."""

    def get_internal_type(self) -> str:
        return "InstantField"  # or Django would convert what SQLite gives as one of its own texts

    def db_type(self, connection: Any) -> str:
        return "bigint" if connection.vendor == "sqlite" else "timestamp with time zone"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> datetime | None:
        if not isinstance(value, int):
            return value  # type: ignore[no-any-return]  # PostgreSQL's driver has made it a datetime
        moment = from_microseconds(value)
        return moment if settings.USE_TZ else timezone.make_naive(moment)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        value = value if prepared else self.get_prep_value(value)
        if connection.vendor != "sqlite" or not isinstance(value, datetime):
            return value
        return microseconds(
            (timezone.make_aware(value) if timezone.is_naive(value) else value).astimezone(UTC)
        )
