"""Houses to be broken, and the table at the end of a run.

CHAOS_REPORT names a file that gets the table as JSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.faults import report
from tests.acceptance.faults.drill import SETTLE, Drill
from tests.acceptance.faults.house import House
from tests.acceptance.faults.report import Line
from tests.servers import PgBouncerServer, PostgresServer, ValkeyServer
from tests.support import PATIENCE

_lines = pytest.StashKey[list[Line]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_lines, [])
    if not lines:
        return
    terminalreporter.section("faults")
    for row in report.table(lines):
        terminalreporter.write_line(row)
    if path := os.environ.get("CHAOS_REPORT"):
        report.write(lines, path)


@pytest.fixture(scope="package")
def servers() -> Iterator[tuple[ValkeyServer, PostgresServer]]:
    """A broker and a database that only drills use; a house repairs what the one before did to them."""
    with ExitStack() as stack:
        yield stack.enter_context(ValkeyServer()), stack.enter_context(PostgresServer())


@pytest.fixture(scope="module")
def shared_house(
    servers: tuple[ValkeyServer, PostgresServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """For the drills of every run: started once, gone before another house stands on the same servers."""
    with House(*servers, tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture
def house(servers: tuple[ValkeyServer, PostgresServer], tmp_path: Path) -> Iterator[House]:
    """A house of the test's own, empty and without workers."""
    with House(*servers, tmp_path) as house:
        yield house


@pytest.fixture
def sqlite_house(servers: tuple[ValkeyServer, PostgresServer], tmp_path: Path) -> Iterator[House]:
    """As ``house``, with the ledger in a file."""
    with House(servers[0], None, tmp_path) as house:
        yield house


@pytest.fixture
def quick(request: pytest.FixtureRequest, shared_house: House, tmp_path: Path) -> Drill:
    """A drill in the shared house, with two workers."""
    shared_house.mend()
    shared_house.man(2)
    drill = _drill(request, shared_house, tmp_path, settle=1.0)
    drill.patience = PATIENCE
    return drill


@pytest.fixture
def drill(request: pytest.FixtureRequest, house: House, tmp_path: Path) -> Drill:
    """A drill in a house of its own."""
    return _drill(request, house, tmp_path, settle=SETTLE)


@pytest.fixture
def bouncer(servers: tuple[ValkeyServer, PostgresServer]) -> Iterator[PgBouncerServer]:
    """A PgBouncer before the database."""
    with PgBouncerServer(servers[1]) as server:
        yield server


@pytest.fixture
def bounced_drill(
    request: pytest.FixtureRequest,
    servers: tuple[ValkeyServer, PostgresServer],
    bouncer: PgBouncerServer,
    tmp_path: Path,
) -> Iterator[Drill]:
    """As ``drill``; workers and producers reach the ledger through the PgBouncer alone."""
    settings = {"prepared_statements": "false"}  # as for every PgBouncer below 1.21
    with House(*servers, tmp_path, settings=settings, bouncer=bouncer) as house:
        yield _drill(request, house, tmp_path, settle=SETTLE)


@pytest.fixture
def sqlite_drill(request: pytest.FixtureRequest, sqlite_house: House, tmp_path: Path) -> Drill:
    return _drill(request, sqlite_house, tmp_path, settle=SETTLE)


def _drill(request: pytest.FixtureRequest, house: House, directory: Path, *, settle: float) -> Drill:
    lines = request.config.stash.setdefault(_lines, [])
    fault = request.node.name.removeprefix("test_").replace("_", " ")
    return Drill(fault, house, directory / "witness", settle=settle, record=lines.append)
