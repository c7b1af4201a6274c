"""The pytest plug-in. Nothing of the platform is imported before a fixture is used."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from celeriac.application import Celeriac
    from celeriac.testing.kit import Kit

_OF_DJANGO = "celeriac.contrib.django"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("celeriac_app", "the app whose tasks are tested, as celery -A names it: proj.celery:app")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what uses the fixture ``celeriac`` in a Django project: pytest-django makes no database before."""
    django = sys.modules.get("django.conf")
    if django is None or not (config.pluginmanager.hasplugin("django") and django.settings.configured):
        return
    if not any(str(name).startswith(_OF_DJANGO) for name in django.settings.INSTALLED_APPS):
        return
    for item in items:
        uses = "celeriac" in getattr(item, "fixturenames", ())
        if uses and item.get_closest_marker("django_db") is None:
            item.add_marker("django_db")


@pytest.fixture
def celeriac_app(pytestconfig: pytest.Config) -> Celeriac:
    """The app whose tasks are tested; a fixture of the same name in your conftest.py names another."""
    name = str(pytestconfig.getini("celeriac_app"))
    if not name:
        pytest.fail(
            "which app is tested? Say `celeriac_app = proj.celery:app` in pytest's configuration, or write a "
            "fixture `celeriac_app` that returns it",
            pytrace=False,
        )
    from kombu.utils.imports import symbol_by_name

    app: Celeriac = symbol_by_name(name)
    return app


@pytest.fixture(scope="session")
def celeriac_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty ledger, made once; every test gets a copy."""
    from celeriac.testing.kit import new_ledger

    return new_ledger(tmp_path_factory.mktemp("celeriac") / "template.db")


@pytest.fixture
def celeriac(celeriac_app: Celeriac, request: pytest.FixtureRequest) -> Iterator[Kit]:
    """A private ledger for one test: jobs become rows, no message leaves, nothing runs until ``drain()``.

    With ``celeriac.contrib.django`` it is pytest-django's test database, as of its fixture ``db``.
    """
    from celeriac.testing.kit import Kit

    _ = celeriac_app.settings  # with which a web framework is found
    if celeriac_app.framework is not None and celeriac_app.framework.has_ledger:
        request.getfixturevalue("db")
        with Kit(celeriac_app) as kit:
            yield kit
        return
    template, folder = (request.getfixturevalue(name) for name in ("celeriac_template", "tmp_path"))
    with Kit(celeriac_app, Path(shutil.copy(template, folder / "celeriac.db"))) as kit:
        yield kit
