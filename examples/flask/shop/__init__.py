"""The application factory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from celeriac.contrib.alembic import include_object
from shop.background import celery_init_app
from shop.extensions import db, migrate


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    app = Flask(__name__, instance_relative_config=True)
    app.config.from_mapping(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{Path(app.instance_path) / 'shop.db'}",
        BROKER_URL="redis://localhost:6379/0",
        PAYMENTS_URL="http://localhost:8080/charges",
        TURNOVER_EVERY=3600,  # seconds
    )
    app.config.from_prefixed_env()  # FLASK_SQLALCHEMY_DATABASE_URI, FLASK_BROKER_URL, …
    app.config.from_mapping(config or {})
    app.config["CELERY"] = {
        "broker_url": app.config["BROKER_URL"],
        "celeriac_database_url": app.config["SQLALCHEMY_DATABASE_URI"],  # jobs live beside the orders
        "include": ["shop.tasks"],
        "beat_schedule": {
            "turnover": {"task": "shop.count_turnover", "schedule": app.config["TURNOVER_EVERY"]},
        },
    }
    Path(app.instance_path).mkdir(parents=True, exist_ok=True)
    db.init_app(app)
    migrate.init_app(app, db, include_object=include_object)  # without the ledger's tables
    celery_init_app(app)

    from shop import commands, views

    app.register_blueprint(views.bp)
    app.cli.add_command(commands.orders)
    return app
