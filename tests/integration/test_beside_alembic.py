"""An application with Alembic in the ledger's database: either may migrate first, neither sees the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest
from alembic.config import CommandLine, Config
from sqlalchemy import create_engine, inspect, make_url, text

from celeriac.errors import MigrationRefused
from celeriac.ledger import migrate
from celeriac.ledger.connection.database import Database
from celeriac.ledger.revisions import OURS
from celeriac.ledger.schema.metadata import METADATA
from celeriac.ledger.writes import new_jobs
from tests.new_jobs import new_job
from tests.processes import run

OURS_FIRST, THEIRS_FIRST = "ours first", "theirs first"
each_order = pytest.mark.parametrize("order", [OURS_FIRST, THEIRS_FIRST])

#: The application's models: their tables have names that ours had.
_MODELS = """
from sqlalchemy import Column, Integer, MetaData, String, Table
metadata = MetaData()
Table("workers", metadata, Column("id", Integer, primary_key=True), Column("name", String(20), index=True))
Table("schedules", metadata, Column("id", Integer, primary_key=True){more})
"""

_ENV = """
import os
import runpy
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
{given}
metadata = runpy.run_path(os.path.join(os.path.dirname(__file__), "models.py"))["metadata"]
engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata{options})
    with context.begin_transaction():
        context.run_migrations()
"""

_SCRIPT = '''
"""${message}"""
from alembic import op
import sqlalchemy as sa
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
def upgrade():
    ${upgrades if upgrades else "pass"}
def downgrade():
    ${downgrades if downgrades else "pass"}
'''

_FLASK_APP = """
import os
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from celeriac.contrib.alembic import include_object

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["THEIR_DATABASE"]
db = SQLAlchemy(app)

class Worker(db.Model):
    __tablename__ = "workers"
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(20), index=True)

class Schedule(db.Model):
    __tablename__ = "schedules"
    id = db.Column(db.Integer, primary_key=True)
    if os.environ.get("LATER"):
        title = db.Column(db.String(20))

Migrate(app, db, include_object=include_object)
"""


class Project:
    """An application with plain Alembic."""

    def __init__(self, folder: Path, url: str, *, protected: bool = True) -> None:
        self.folder, self.url = folder, url
        (folder / "versions").mkdir()
        (folder / "script.py.mako").write_text(_SCRIPT)
        given = "from celeriac.contrib.alembic import include_object" if protected else ""
        options = ", include_object=include_object" if protected else ""
        (folder / "env.py").write_text(_ENV.format(given=given, options=options))
        (folder / "alembic.ini").write_text(
            f"[alembic]\nscript_location = {folder}\npath_separator = os\n"
            f"sqlalchemy.url = {url.replace('%', '%%')}\n"
        )
        self.models()

    def models(self, *, more: str = "") -> None:
        (self.folder / "models.py").write_text(_MODELS.format(more=more))

    def run(self, *words: str) -> str:
        """Run a command of Alembic's; return what it prints."""
        said, line = StringIO(), CommandLine()
        options = line.parser.parse_args(words)
        line.run_cmd(Config(self.folder / "alembic.ini", stdout=said, cmd_opts=options), options)
        return said.getvalue()

    @property
    def scripts(self) -> str:
        return "".join(path.read_text() for path in sorted((self.folder / "versions").glob("*.py")))


class FlaskProject(Project):
    """An application with Flask-Migrate; each command is a process, as it is for its users."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder / "migrations", url
        self._later = ""
        (folder / "shop.py").write_text(_FLASK_APP)
        self.run("init")

    def models(self, *, more: str = "") -> None:
        self._later = more

    def run(self, *words: str) -> str:
        words = ("migrate", "-m", "change") if words[:2] == ("revision", "--autogenerate") else words
        known = {"THEIR_DATABASE": self.url, "LATER": self._later}
        argv = [sys.executable, "-m", "flask", "--app", "shop", "db", *words]
        libraries = ("flask", "flask_migrate", "flask_sqlalchemy")
        done = run(argv, cwd=self.folder.parent, env=os.environ | known, libraries=libraries)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(params=[Project, FlaskProject])
def project(request: pytest.FixtureRequest, tmp_path: Path, bare_database_url: str) -> Project:
    folder = tmp_path / "theirs"
    folder.mkdir()
    made: Project = request.param(folder, bare_database_url)
    return made


def steps(order: str, *both: Callable[[], object]) -> None:
    """Ours and theirs, in that order or in the other."""
    for step in both if order == OURS_FIRST else reversed(both):
        step()


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    with closing(engine.connect()) as connection:
        found = set(inspect(connection).get_table_names())
    engine.dispose()
    return found


@each_order
def test_both_migrate_beside_each_other(project: Project, order: str, bare_database_url: str) -> None:
    def theirs() -> None:
        project.run("revision", "--autogenerate", "-m", "first")
        project.run("upgrade", "head")

    steps(order, lambda: migrate.upgrade(bare_database_url, post=True), theirs)
    project.run("check")  # fails if it would change anything
    project.models(more=', Column("title", String(20))')
    project.run("revision", "--autogenerate", "-m", "second")
    project.run("upgrade", "head")
    assert "background_" not in project.scripts
    assert project.scripts.count("title") == 2, "one column up, one down"
    assert "(head)" in project.run("current")
    with closing(Database(make_url(bare_database_url))) as database:
        assert migrate.current(database) == OURS.head
        assert migrate.check(database) == []
        with database.transaction() as connection:
            new_jobs.enqueue(connection, [new_job()])
        with pytest.raises(MigrationRefused, match="that is not the ledger's"):
            while migrate.downgrade(bare_database_url):  # to where a table of theirs has the name
                pass
        assert migrate.current(database) == "0011"
        assert migrate.upgrade(bare_database_url) == OURS.wanted
        steps(order, lambda: migrate.check(database), lambda: project.run("downgrade", "base"))
        assert tables(bare_database_url) == {*METADATA.tables, "background_version", "alembic_version"}
        with database.reading() as connection:
            count = "SELECT count(*) FROM "
            assert connection.execute(text(count + "background_jobs")).scalar_one() == 1
            assert connection.execute(text(count + "alembic_version")).scalar_one() == 0
    project.run("upgrade", "head")
    assert {"workers", "schedules"} <= tables(bare_database_url)


def test_without_the_import_autogenerate_would_drop_our_tables(
    tmp_path: Path, bare_database_url: str
) -> None:
    migrate.upgrade(bare_database_url)
    project = Project(tmp_path, bare_database_url, protected=False)
    project.run("revision", "--autogenerate", "-m", "first")
    for name in (*METADATA.tables, "background_version"):
        assert f"op.drop_table('{name}')" in project.scripts


def test_a_table_of_theirs_that_they_declare_is_theirs(tmp_path: Path, bare_database_url: str) -> None:
    """What their metadata has is compared, whatever it is called."""
    project = Project(tmp_path, bare_database_url)
    project.models(more=')\nTable("background_workers", metadata, Column("id", Integer, primary_key=True)')
    project.run("revision", "--autogenerate", "-m", "first")
    assert "create_table('background_workers'" in project.scripts
