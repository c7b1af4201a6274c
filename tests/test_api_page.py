"""``docs/api.md`` has every public name and nothing else, and says what the docstrings say."""

from __future__ import annotations

import re

from docs import api
from tests import public

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
