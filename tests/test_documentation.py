"""What the README and docs/ show is so: each block of every page, also of one that is written tomorrow.

Python is run (``tests.reader``), commands are parsed by the commands themselves, settings are compared.
"""

from __future__ import annotations

import ast
import configparser
import json
import re
import shlex
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import click
import pytest
from celery.bin.base import CLIContext
from celery.bin.celery import celery
from sqlalchemy import make_url

from celeriac.application import Celeriac
from celeriac.cli.entry import CommandEntry
from celeriac.settings.platform import Settings, variable
from tests.apps import build
from tests.documented import API_PAGE, OF_A_PROJECT, PAGES, ROOT, Block, Kind, blocks, spans
from tests.processes import run
from tests.workers import environment

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

_CELERY = re.compile(r"^celery (?:(?:-A|--app)[= ]?\S+ )?")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Celeriac]:
    made = build(Settings(data_dir=tmp_path_factory.mktemp("data")), set_as_current=False)
    celery.commands["worker"].params.extend(made.user_options["worker"])  # as Celery's own command line does
    yield made
    made.close()


def test_pages_and_blocks_are_found() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "operations.md", "schedules.md", "commands.md"}
    kinds = {block.kind for page in PAGES for block in blocks(page)}
    assert kinds == set(Kind) - {Kind.UNKNOWN}


@every_page
def test_every_block_is_of_a_kind_that_is_checked(page: Path) -> None:
    unknown = {str(block): block.text for block in blocks(page) if block.kind is Kind.UNKNOWN}
    assert unknown == {}, "see tests/documented.py"


def test_every_block_of_python_and_sql_runs(tmp_path: Path) -> None:
    """On a ledger of its own, in the order of each page."""
    wanted = [block for page in PAGES if page not in (API_PAGE, *OF_A_PROJECT) for block in blocks(page)]
    wanted = [block for block in wanted if block.kind in (Kind.PYTHON, Kind.SESSION, Kind.SQL)]
    ledger = f"sqlite:///{tmp_path / 'unused.db'}"
    env = environment("redis://127.0.0.1:1/0", ledger, {"data_dir": tmp_path})
    argv = [sys.executable, "-m", "tests.reader", str(tmp_path)]
    ended = run(argv, cwd=ROOT, env=env)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["wrong"] == {}, "\n".join(f"{block}\n{trace}" for block, trace in told["wrong"].items())
    assert told["seen"] == len(wanted) > 10


@pytest.mark.parametrize(("page", "project"), OF_A_PROJECT.items(), ids=lambda path: path.name)
def test_python_of_a_project_is_what_its_example_has(page: Path, project: Path) -> None:
    files = [_flat(path.read_text()) for path in project.rglob("*.py")]
    python = [block for block in blocks(page) if block.kind is Kind.PYTHON]
    assert len(python) > 3
    assert [str(block) for block in python if not any(_flat(block.text) in file for file in files)] == []


def _flat(text: str) -> str:
    """``text`` without what it is indented by."""
    return "\n".join(line.strip() for line in text.strip().splitlines())


@every_page
def test_every_command_can_be_typed(page: Path, app: Celeriac) -> None:
    wrong = [problem for block in blocks(page) if block.kind is Kind.SHELL for problem in _of(block, app)]
    assert wrong == []


@every_page
def test_every_command_in_a_sentence_exists(page: Path) -> None:
    """Its words and the names of its options; an argument may be left out there."""
    wrong = []
    for span in spans(page):
        if not (found := _CELERY.match(span)):
            continue
        try:
            _exists(shlex.split(span[found.end() :]))
        except (click.UsageError, ValueError) as exc:
            wrong.append(f"{span}: {exc}")
    assert wrong == []


def _of(block: Block, app: Celeriac) -> Iterator[str]:
    """What is wrong with the commands of ``block``."""
    for command in block.commands:
        for part in re.split(r"\s*(?:&&|\|)\s*", command):
            try:
                _typed(part, app)
            except (click.ClickException, AssertionError, ValueError) as exc:
                told = exc.format_message() if isinstance(exc, click.ClickException) else str(exc)
                yield f"{block}: {part}: {told}"


def _typed(line: str, app: Celeriac) -> None:
    words = shlex.split(line)
    while re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text()
        for target in (word for word in words[1:] if "=" not in word):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"
    elif words[0] == "cp" and not words[1].startswith("signing."):
        assert (ROOT / words[1]).exists(), f"no file {words[1]}"
    elif found := _CELERY.match(line):
        context = CLIContext(app=app, no_color=True, workdir=None)
        with click.Context(celery, info_name="celery", obj=context) as parent:
            _parse(celery, shlex.split(line[found.end() :]), parent)


def _parse(group: click.Group, words: list[str], parent: click.Context) -> None:
    """As the command itself parses what follows its name; nothing is called."""
    name, command, rest = group.resolve_command(parent, words)
    assert command is not None
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        with click.Context(command, info_name=name, parent=parent) as inner:
            _parse(command, rest, inner)
        return
    with command.make_context(name, rest, parent=parent):
        pass


def _exists(words: list[str]) -> None:
    command: click.Command = celery
    with click.Context(celery) as context:
        while words and isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", words[0]):
            _, found, words = command.resolve_command(context, words)
            assert found is not None
            command = found.real() if isinstance(found, CommandEntry) else found
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in takewhile(lambda word: word != "--", words):  # behind it are settings
        if word.startswith("-") and word.partition("=")[0] not in known:
            raise click.UsageError(f"no option {word}")


# Settings


def rows() -> Iterator[tuple[Path, list[str], str]]:
    """The page, the variables and the defaults of each row of every table of settings."""
    for page in PAGES:
        for table in re.findall(r"(?m)^\| variable \| .*\| default \|\n(?:\|.*\n)+", page.read_text()):
            for row in table.splitlines()[2:]:
                cells = [cell.strip() for cell in row.strip("|").split("|")]
                yield page, re.findall(r"`([A-Z_]+)`", cells[0]), cells[-1]


def test_every_default_that_is_written_is_the_default() -> None:
    fields = {
        **{variable(name): field for name, field in Settings.model_fields.items()},
        "CELERY_BROKER_URL": Settings.model_fields["broker_url"],
        "CELERY_RESULT_BACKEND": Settings.model_fields["result_backend"],
        "DATABASE_URL": Settings.model_fields["database_url"],
    }
    compared = 0
    for page, names, told in rows():
        defaults = told.split(", ") if len(names) > 1 else [told]
        assert set(names) <= fields.keys(), page
        for name, default in zip(names, defaults, strict=True):
            value = _value(default)
            if value is not NotImplemented:
                compared += 1
                assert value in (_plain(fields[name]), fields[name].default), f"{page.name}: {name}"
    assert compared > 20


def _value(cell: str) -> Any:
    """What a cell says; NotImplemented when it says it in a sentence."""
    text = cell.strip("`")
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text.replace(",", "_"))
    except (ValueError, SyntaxError):
        return text if re.fullmatch(r"`\S+`", cell) else NotImplemented


def _plain(field: Any) -> Any:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return ",".join(value)
    return value.name if isinstance(value, Path) else value


def test_an_option_of_pytest_that_is_shown_exists(pytestconfig: pytest.Config) -> None:
    shown = [block.text for page in PAGES for block in blocks(page) if block.kind is Kind.CONFIGURATION]
    assert shown
    for text in shown:
        read = configparser.ConfigParser()
        read.read_string(text)
        for name in read["tool:pytest"]:
            assert pytestconfig.getini(name)


def test_an_address_in_a_block_of_settings_is_one() -> None:
    """Every line names a variable that is known, and a URL that can be read."""
    known = {*map(variable, Settings.model_fields), "DATABASE_URL"}
    for page in PAGES:
        for block in (block for block in blocks(page) if block.kind is Kind.SETTINGS):
            for line in block.commands:
                name, _, value = line.partition("=")
                assert name in known or name.startswith(("OTEL_", "FLOWER_")), f"{block}: {name}"
                if name.endswith("_URL"):
                    assert make_url(value).host, f"{block}: {value}"
