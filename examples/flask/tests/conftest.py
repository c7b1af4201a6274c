from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.testing import Kit
from shop import create_app
from shop.extensions import db


@pytest.fixture
def flask_app(tmp_path: Path) -> Flask:
    """The fixture ``celeriac`` keeps its private ledger in this file; the orders go into the same one."""
    return create_app(
        {
            "TESTING": True,
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'celeriac.db'}",
            "PAYMENTS_URL": "http://127.0.0.1:1/charges",  # nobody listens there
        }
    )


@pytest.fixture
def celeriac_app(flask_app: Flask) -> Celeriac:
    return flask_app.extensions["celery"]


@pytest.fixture
def client(flask_app: Flask, celeriac: Kit) -> Iterator[FlaskClient]:
    with flask_app.app_context():
        db.create_all()
        yield flask_app.test_client()
        db.session.remove()
        db.engine.dispose()
