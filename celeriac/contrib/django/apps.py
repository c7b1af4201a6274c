"""The Django application: what is prepared when Django starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_migrate

from celeriac.contrib.django import LABEL
from celeriac.contrib.django.connection import prepare


class CeleriacConfig(AppConfig):
    """``celeriac.contrib.django`` in INSTALLED_APPS.

    Attributes:
        own_names: the names of the project's databases. A test runner puts others into their settings.
    """

    name = "celeriac.contrib.django"
    label = LABEL
    verbose_name = "Background jobs"
    default_auto_field = "django.db.models.BigAutoField"
    own_names: Mapping[str, Any] = {}

    def ready(self) -> None:
        self.own_names = {alias: settings["NAME"] for alias, settings in connections.settings.items()}
        connection_created.connect(_prepare, dispatch_uid="celeriac")
        pre_migrate.connect(_make_for_tests, sender=self, dispatch_uid="celeriac")
        for connection in connections.all(initialized_only=True):
            if connection.connection is not None:
                prepare(connection)


def _prepare(connection: Any, **_: Any) -> None:
    prepare(connection)


def _make_for_tests(using: str, **_: Any) -> None:
    from celeriac.contrib.django import tables  # which asks for this application

    tables.make_for_tests(using)
