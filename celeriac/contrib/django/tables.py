"""The ledger's tables, made by ``manage.py migrate`` with the ledger's own migrations."""

from __future__ import annotations

from django.db import connections
from sqlalchemy import URL

from celeriac.application import current_app
from celeriac.contrib.django import LABEL
from celeriac.contrib.django.address import is_in_memory, url_of
from celeriac.contrib.django.connection import engine_on
from celeriac.contrib.django.framework import Django
from celeriac.ledger import migrate


def ledger_alias() -> str | None:
    """The alias of the database that has the ledger; None: it is in none of Django's.

    Raises:
        NoAppMade: the project has no Celeriac app.
        SettingsError: with every problem at once.
    """
    app = current_app()
    _ = app.settings  # with which the integration is found
    return app.framework.alias if isinstance(app.framework, Django) else None


def upgrade(alias: str, revision: str) -> None:
    """Migrate the ledger to ``revision``, if it is in the database of ``alias``.

    As ``celery -A app db upgrade`` does it, online, unless only Django's connection sees the database or the
    transaction that it is in.
    """
    if alias != ledger_alias():
        return
    if (url := _of_its_own(alias)) is not None:
        migrate.upgrade(url, to=revision)
        return
    with engine_on(alias).connect() as within:
        migrate.upgrade_within(within, revision)


def downgrade(alias: str, *, to: str | None = None) -> None:
    """Take the ledger back to revision ``to``, if it is in the database of ``alias``.

    Args:
        to: None: remove the ledger with all its jobs.
    """
    if alias != ledger_alias():
        return
    if (url := _of_its_own(alias)) is not None:
        while migrate.downgrade(url) != to:
            pass
        return
    with engine_on(alias).connect() as within:
        migrate.downgrade_within(within, to=to)


def make_for_tests(alias: str) -> None:
    """Make the tables where Django makes none by migrations (``pytest --nomigrations``).

    Called before Django makes them from the models, which do not have all columns.
    """
    from django.db.migrations.loader import MigrationLoader

    if MigrationLoader.migrations_module(LABEL)[0] is None:
        upgrade(alias, migrate.wanted())


def _of_its_own(alias: str) -> URL | None:
    """The URL for a connection beside Django's; None: only Django's sees what is to be migrated."""
    connection = connections[alias]
    settings = connection.settings_dict
    if connection.in_atomic_block or is_in_memory(connection.vendor, settings["NAME"]):
        return None
    return url_of(connection.vendor, settings)
