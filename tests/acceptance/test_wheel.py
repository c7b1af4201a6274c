"""The wheel beside a project of somebody else's, with packages of the same names as this repository's."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.wheels import ROOT, build, copied

#: What somebody else's project may well have, and must keep.
PROJECT = {
    "app/__init__.py": "",
    "app/worker.py": """
import os, signal, sys
from celery import Celery
from celery.signals import worker_ready
import beat_schedule
app = Celery("theirs", broker="memory://", include=["tasks"])
app.conf.beat_schedule = beat_schedule.SCHEDULE

@worker_ready.connect
def say(**_):
    print("TASKS", *sorted(name for name in app.tasks if not name.startswith("celery.")), file=sys.__stdout__)
    ours = sorted(name for name in sys.modules if name.startswith("celeriac"))
    print("OURS", *ours, file=sys.__stdout__, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
""",
    "tasks.py": """
from celery import shared_task

@shared_task(name="theirs.add")
def add(x, y):
    return x + y
""",
    "beat_schedule.py": "SCHEDULE = {}\n",
    "conftest.py": """
import pytest

@pytest.fixture
def theirs():
    return "theirs"
""",
    "test_theirs.py": """
import app.worker, beat_schedule, tasks

def test_theirs(theirs):
    assert theirs == "theirs"
    assert app.worker.app.main == "theirs"
    assert beat_schedule.SCHEDULE == {}
    assert tasks.add(1, 2) == 3
""",
    "alembic.ini": "[alembic]\nscript_location = alembic\nsqlalchemy.url = sqlite:///theirs.db\n",
    "alembic/env.py": """
from alembic import context
from sqlalchemy import create_engine
with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
""",
    "alembic/versions/0001_theirs.py": """
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    op.execute("CREATE TABLE theirs (id INTEGER)")
""",
}

_ALEMBIC = "import sys; from alembic.config import main; main(sys.argv[1:])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Somebody else's project, and the Python of its environment, in which the wheel is installed."""
    home = tmp_path_factory.mktemp("theirs")
    venv.create(home / "env", symlinks=True)
    python = home / "env" / "bin" / "python"
    argv = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        str(wheel),
    ]
    subprocess.run(argv, check=True, capture_output=True, timeout=100)
    # What it depends on is here already; a path in a .pth file brings no editable install of this checkout.
    (packages,) = (home / "env" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    place = home / "project"
    for name, text in PROJECT.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place, python


def run(project: tuple[Path, Path], *words: str) -> str:
    place, python = project
    argv = [str(python), *words]
    ended = subprocess.run(argv, cwd=place, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_only_the_library_is_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"celeriac", "celeriac-0.1.0.dist-info"}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "celeriac").rglob("*.py")}
    assert modules <= {*names}
    assert {"celeriac/py.typed", "celeriac/ledger/migrations/script.py.mako"} <= {*names}


def test_it_is_the_wheel_that_is_found(project: tuple[Path, Path]) -> None:
    place, _ = project
    assert str(place.parent) in run(project, "-c", "import celeriac; print(celeriac.__file__)")


def test_their_tests_run(project: tuple[Path, Path]) -> None:
    assert "1 passed" in run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_their_migrations_run(project: tuple[Path, Path]) -> None:
    run(project, "-c", _ALEMBIC, "upgrade", "head")
    assert "0001 (head)" in run(project, "-c", _ALEMBIC, "current")


def test_their_worker_runs_and_imports_nothing_of_ours(project: tuple[Path, Path]) -> None:
    told = run(project, "-m", "celery", "-A", "app.worker", "worker", "--pool", "solo", "--loglevel", "error")
    assert "TASKS theirs.add\n" in told
    assert "OURS celeriac celeriac.cli celeriac.cli.entry\n" in told


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which ``make wheel`` was typed; the file that it names."""
    checkout = copied(tmp_path_factory.mktemp("checkout"))
    # The environment of the tests in place of the checkout's own.
    argv = ["make", "--no-print-directory", "wheel", f"BIN={Path(sys.executable).parent}", "READY="]
    done = subprocess.run(argv, cwd=checkout, check=True, capture_output=True, text=True, timeout=300)
    (line,) = done.stdout.splitlines()
    return checkout / line


def test_make_wheel_prints_the_file_that_pip_wants(made: Path, wheel: Path) -> None:
    assert made.parent.name == "dist"
    assert made.name == wheel.name
    assert {*zipfile.ZipFile(made).namelist()} == {*zipfile.ZipFile(wheel).namelist()}


def test_the_ways_of_installing_that_the_pages_name_work(made: Path, tmp_path: Path) -> None:
    """With what pip is told about its index here, and nothing else."""
    pages = [(ROOT / "docs" / name).read_text() for name in ("adopting.md", "django.md")]
    named = {
        word for page in pages for word in re.findall(r"^    pip install '(dist/\S+\.whl)\[", page, re.M)
    }
    assert named == {f"dist/{made.name}"}
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    # The second is what messages and other pages say, where the library is installed already.
    for words in (f"dist/{made.name}[postgres]", "celeriac[auth]"):
        argv = [*pip, words]
        subprocess.run(argv, cwd=made.parent.parent, check=True, capture_output=True, timeout=500)
    code = "import celeriac, psycopg, cryptography; print(celeriac.__file__, celeriac.Celeriac('them').main)"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert str(tmp_path) in done.stdout
    argv = [python.parent / "celery", "doctor", "--adopt", "."]
    told = subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=100)
    assert told.stdout == "0 blockers, 0 other notes\n"
