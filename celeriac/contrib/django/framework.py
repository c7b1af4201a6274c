"""The integration: the ledger is in a database of Django's, and an enqueue is part of its transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async
from django import setup
from django.apps import apps
from django.core.exceptions import AppRegistryNotReady
from django.db import connections, transaction
from sqlalchemy import URL, Connection, Engine

from celeriac.broker import sending
from celeriac.contrib.django import LABEL
from celeriac.contrib.django.address import VENDORS, is_in_memory, url_of
from celeriac.contrib.django.connection import engine_on
from celeriac.contrib.django.database import DjangoDatabase
from celeriac.enqueue.capture import Writer, Written
from celeriac.enqueue.reused_id import Caller
from celeriac.enqueue.transactions import write_lent
from celeriac.enqueue.write import to_be_sent
from celeriac.errors import SettingsError
from celeriac.ledger.connection.database import Database
from celeriac.ledger.reads import job_rows
from celeriac.ledger.schema.lifecycle import TERMINAL
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.settings.from_conf import named

if TYPE_CHECKING:
    from celeriac.application import Celeriac

T = TypeVar("T")


class Django:
    """See ``celeriac.ledger.connection.framework.Framework``.

    Attributes:
        alias: of the database that has the ledger; None: the ledger is elsewhere.
    """

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self.alias: str | None = None

    # ---- where the ledger is

    def ledger_url(self, given: Mapping[str, Any]) -> URL | None:
        self.alias = None
        if named("database_url", given):
            return None
        alias = str(named("django_database", given) or "default")
        if alias not in connections.settings:
            known = ", ".join(sorted(connections.settings))
            raise SettingsError(
                [f"CELERIAC_DJANGO_DATABASE: wanted one of DATABASES ({known}), found {alias!r}"]
            )
        vendor = _vendor(alias)
        if vendor not in VENDORS:
            raise SettingsError(
                [
                    f"DATABASES[{alias!r}]: the ledger lives in PostgreSQL or SQLite, found {vendor}; name "
                    "its database in CELERIAC_DATABASE_URL or another of these in CELERIAC_DJANGO_DATABASE"
                ]
            )
        if named("database_schema", given):
            raise SettingsError(
                ["CELERIAC_SCHEMA: the ledger stands beside Django's tables; set their search_path instead"]
            )
        self.alias = alias
        settings = connections[alias].settings_dict
        # A database in memory is reached through Django's connection alone.
        return None if is_in_memory(vendor, settings["NAME"]) else url_of(vendor, settings)

    def database(self, url: URL, **options: Any) -> Database:
        return Database(url, **options) if self.alias is None else DjangoDatabase(url, self, **options)

    @cached_property
    def engine(self) -> Engine:
        """The engine on Django's connection."""
        assert self.alias is not None
        return engine_on(self.alias)

    # ---- the caller's transaction

    @property
    def has_ledger(self) -> bool:
        return self.alias is not None

    @property
    def tests(self) -> bool:
        if self.alias is None or not apps.ready:
            return False
        own = apps.get_app_config(LABEL).own_names
        return self.alias in own and connections[self.alias].settings_dict["NAME"] != own[self.alias]

    @property
    def joins(self) -> bool:
        """Whether the ledger's statements go through Django's connection.

        In a transaction they are part of it. What a test writes, or keeps in memory, is seen nowhere else.
        """
        if self.alias is None:
            return False
        connection = connections[self.alias]
        in_memory = is_in_memory(connection.vendor, connection.settings_dict["NAME"])
        return connection.in_atomic_block or _by_hand(connection) or in_memory or self.tests

    def writer(self) -> Writer | None:
        return self._write if self.joins else None

    def connection(self) -> Connection | None:
        if self.alias is None or not _in_transaction(connections[self.alias]):
            return None
        return self.engine.connect()

    def _write(self, jobs: Sequence[NewJob]) -> Written:
        """Write rows in the transaction that Django is in; their messages leave when it is committed."""
        connection = connections[self.alias]
        jobs = to_be_sent(self._app, jobs)
        if _by_hand(connection) or self.tests:
            # Django tells nobody of such a commit: the dispatcher sees it. A test's message would reach the
            # workers of the project.
            jobs = [job.unsent() for job in jobs]
        block = contextlib.nullcontext() if _in_transaction(connection) else transaction.atomic(self.alias)
        with block, self.engine.connect() as on_django:
            written, unsent = write_lent(self._app, on_django, jobs, Caller.of(self._app))
            if unsent or (self.tests and not _by_hand(connection)):  # which a test may count
                transaction.on_commit(partial(self._send, unsent), using=self.alias, robust=True)
            return written

    def _send(self, jobs: Sequence[NewJob]) -> None:
        if jobs:
            sending.send(self._app, jobs)

    def uncommitted(self, jobs: Sequence[UUID]) -> list[UUID]:
        if self.alias is None or not _in_transaction(connections[self.alias]):
            return []
        with self.engine.connect() as connection:
            found = job_rows.endings(connection, jobs)
        waiting = [job for job in jobs if job in found and found[job].state not in TERMINAL]
        if not waiting or self.tests:
            return waiting
        database = self._app.database
        assert isinstance(database, DjangoDatabase)
        with database.apart() as connection:
            seen = job_rows.endings(connection, waiting)
        return [job for job in waiting if job not in seen]

    async def in_thread(self, call: Callable[[], T]) -> T:
        made: T = await sync_to_async(call, thread_sensitive=True)()
        return made


def _vendor(alias: str) -> str:
    """The vendor of a database, also before ``django.setup()``: ``celery`` reads the settings first.

    An engine that brings models, as PostGIS does, can be imported after it only.
    """
    try:
        return str(connections[alias].vendor)
    except AppRegistryNotReady:
        if getattr(apps, "loading", False):  # an application that reads the settings while it is imported
            raise
        setup()
        return str(connections[alias].vendor)


def _in_transaction(connection: Any) -> bool:
    return bool(connection.in_atomic_block) or _by_hand(connection)


def _by_hand(connection: Any) -> bool:
    """Whether the project commits by hand (``set_autocommit(False)``), outside of ``atomic()``."""
    if connection.in_atomic_block:
        return False
    if connection.connection is None:
        return not connection.settings_dict["AUTOCOMMIT"]
    return not connection.autocommit
