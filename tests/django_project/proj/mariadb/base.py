"""SQLite under the name of another vendor."""

from typing import ClassVar

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    """What Django asks for its vendor is MariaDB; what executes its statements is SQLite."""

    vendor: ClassVar[str] = "mysql"
