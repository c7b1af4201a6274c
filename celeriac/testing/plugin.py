"""The pytest plug-in. Nothing of the platform is imported before a fixture is used."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from celeriac.application import Celeriac
    from celeriac.testing.kit import Kit


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("celeriac_app", "the app whose tasks are tested, as celery -A names it: proj.celery:app")


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
def celeriac(celeriac_app: Celeriac, celeriac_template: Path, tmp_path: Path) -> Iterator[Kit]:
    """A private ledger for one test: jobs become rows, no message leaves, nothing runs until ``drain()``."""
    from celeriac.testing.kit import Kit

    with Kit(celeriac_app, Path(shutil.copy(celeriac_template, tmp_path / "celeriac.db"))) as kit:
        yield kit
