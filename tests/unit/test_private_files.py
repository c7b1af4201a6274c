"""What holds arguments of jobs is for its owner alone; what others can read already, doctor names."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from celeriac import private_files
from celeriac.ledger.connection.database import Database
from celeriac.ledger.migrate import upgrade
from celeriac.observe.liveness import LivenessReporter
from celeriac.operate.doctor import Level, file_modes_check
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.support import wait_until


@pytest.fixture(autouse=True)
def _open_by_default() -> Iterator[None]:
    """As most machines are: what says nothing may be read by everybody."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_directory_that_is_made_is_private(tmp_path: Path) -> None:
    private_files.make_directory(tmp_path / "a" / "b")
    assert [mode(tmp_path / name) for name in ("a", "a/b")] == [0o700, 0o700]


def test_the_data_directory_is_private_whoever_makes_it(tmp_path: Path) -> None:
    """A worker's liveness file may be the first that is kept there."""
    settings = Settings(data_dir=tmp_path / "data", broker_url="redis://host/0")
    liveness = LivenessReporter("worker", settings, connected=lambda: True)
    liveness.start()
    wait_until((tmp_path / "data" / "health").is_dir, within=60, saying="it has written")
    liveness.stop()
    assert mode(tmp_path / "data") == 0o700


@pytest.mark.parametrize("place", ["ledger.db", "data/ledger.db"])
def test_the_ledgers_file_is_private_with_all_that_belongs_to_it(tmp_path: Path, place: str) -> None:
    file = tmp_path / place
    upgrade(f"sqlite:///{file}")
    with closing(Database(make_url(f"sqlite:///{file}"))) as database, database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM background_workers")
        found = {each.name: mode(each) for each in file.parent.iterdir() if each.is_file()}
    assert {"ledger.db", "ledger.db-wal"} <= found.keys()
    assert set(found.values()) == {0o600}


def test_doctor_names_what_others_can_read(tmp_path: Path) -> None:
    data = tmp_path / "data"
    app = build(Settings(data_dir=data, broker_url="redis://host/0"), set_as_current=False)
    upgrade(app.database.url)
    assert file_modes_check.judge(file_modes_check.read(app)) == []
    data.chmod(0o755)
    (data / "ledger.db").chmod(0o644)
    (found,) = file_modes_check.judge(file_modes_check.read(app))
    assert found.level is Level.WARN
    assert found.remedy == f"chmod go= {data} {data / 'ledger.db'}"
