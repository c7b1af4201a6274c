"""SQLite, as an engine that brings models: PostGIS's can be imported only after ``django.setup()``."""

from django.apps import apps
from django.db.backends.sqlite3.base import DatabaseWrapper  # noqa: F401  # what Django looks for here

apps.check_apps_ready()
