"""Flask's extensions, made without an app, as Flask's documentation has it."""

from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()
migrate = Migrate()
