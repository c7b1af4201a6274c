"""``docs/celery-settings.md`` says what the table in the code says."""

from __future__ import annotations

import re

from celeriac.settings.celery_settings import RULINGS, TRANSPORT_RULINGS
from docs.celery_settings import PAGE, page


def test_the_page_is_the_table_of_the_code() -> None:
    assert PAGE.read_text() == page(), "make it anew: .venv/bin/python -m docs.celery_settings"


def test_every_setting_stands_in_the_page_once() -> None:
    rows = [line.split("|")[1] for line in page().splitlines() if line.startswith("| `")]
    named = re.findall(r"`([^`]+)`", "".join(rows))
    assert sorted(named) == sorted([*RULINGS, *TRANSPORT_RULINGS])
