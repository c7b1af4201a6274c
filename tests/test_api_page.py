"""``docs/api.md`` has every public name and nothing else, and says what the docstrings say."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from docs import api
from tests import public
from tests.documented import PAGES, ROOT

#: What pages that people read teach to import, as ``from celeriac import …``.
TAUGHT = [
    (page.name, module, name.strip())
    for page in (*PAGES, ROOT / "CHANGELOG.md")
    for module, names in re.findall(r"from (celeriac[\w.]*) import ([\w, ]+)", page.read_text())
    for name in names.split(",")
    if name.strip()
]

MADE_ANEW = "make it anew: .venv/bin/python -m docs.api"


def test_the_page_is_what_the_docstrings_say() -> None:
    assert api.PAGE.read_text() == api.page(), MADE_ANEW


def test_the_page_has_every_public_name_and_nothing_else() -> None:
    text = api.PAGE.read_text()
    shown = {*re.findall(r"^### (\S+)$", text, re.MULTILINE)}
    errors = {
        *re.findall(r"^\| \**`(\w+)`\** \| \w.*\| .+ \|$", text.partition("## Errors")[2], re.MULTILINE)
    }
    names = {name.removeprefix("celeriac.") for name in public.names()} - {"schedules.register"}
    assert errors == {*public.error_classes()}
    assert shown | errors == names | errors
    assert not shown & errors


def test_the_page_has_every_member_of_a_public_class() -> None:
    shown = {*re.findall(r"^#### (\S+)$", api.PAGE.read_text(), re.MULTILINE)}
    plain = {name.removeprefix("celeriac.") for name, _ in public.documented()}
    assert shown == {name for name in plain if name not in {*public.names()}} - {
        name.removeprefix("celeriac.") for name in public.names()
    }


@pytest.mark.parametrize(("page", "module", "name"), TAUGHT)
def test_what_a_page_teaches_to_import_is_public(page: str, module: str, name: str) -> None:
    assert module in {"celeriac", "celeriac.errors", *public.MODULES}
    assert hasattr(import_module(module), name)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_a_file_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`((?:app|celeriac|tasks|tests|benchmarks)/[\w./]*)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists() and "NAME" not in name] == []
