"""The ledger's database in a Django project: by connections of its own, or by Django's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from django.db import transaction
from sqlalchemy import URL, Connection, Engine

from celeriac.ledger.connection.database import Database


class Joining(Protocol):
    """Who knows when Django's connection is to be used.

    Attributes:
        alias: of the database that has the ledger.
    """

    alias: str | None

    @property
    def joins(self) -> bool:
        """Whether it is now."""

    @property
    def engine(self) -> Engine:
        """The engine on it."""


class DjangoDatabase(Database):
    """``Database``, by Django's connection while that one is in a transaction, and in tests."""

    def __init__(self, url: URL, framework: Joining, **options: Any) -> None:
        super().__init__(url, **options)
        self._framework = framework

    @property
    def engine(self) -> Engine:
        return self._framework.engine if self._framework.joins else super().engine

    @contextmanager
    def transaction(self, *, within: float | None = None, idle: float | None = None) -> Iterator[Connection]:
        """As of ``Database``; in Django's transaction a savepoint, which no time limit cuts."""
        if not self._framework.joins:
            with super().transaction(within=within, idle=idle) as connection:
                yield connection
            return
        with transaction.atomic(self._framework.alias), self._framework.engine.connect() as connection:
            yield connection

    @contextmanager
    def statement(self, *, within: float | None = None) -> Iterator[Connection]:
        if not self._framework.joins:
            with super().statement(within=within) as connection:
                yield connection
            return
        with self._framework.engine.connect() as connection:
            yield connection

    reading = statement

    @contextmanager
    def apart(self) -> Iterator[Connection]:
        """A connection of its own to read with, whatever Django is in."""
        with super().engine.connect() as connection:
            yield connection
