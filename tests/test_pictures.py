"""The pictures of the pages: the script makes each, and each shows what its command still prints."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.workloads import WORKLOADS
from celeriac.application import Celeriac
from celeriac.settings.platform import Settings
from docs.console_pictures import PAGES as PAGES_OF_THE_CONSOLE
from docs.screenshots import DEMO, IMAGES, PICTURES, ROOT, Picture, Revealing, drawn, printed
from tests.apps import build
from tests.commands import call
from tests.stock import Stock
from tests.test_readme import PAGES
from tests.workers import environment

TABLES = [picture for picture in PICTURES if picture.words[-1] in ("list", "queues", "stats", "5")]


def lines(svg: str) -> list[str]:
    """The words of a picture, line by line, without its title; how much is between them is not told."""
    found: dict[float, list[tuple[float, str]]] = defaultdict(list)
    for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        if "clip-path" in text.attrib:
            found[float(text.attrib["y"])].append((float(text.attrib["x"]), text.text or ""))
    rows = (" ".join(part for _, part in sorted(row)) for _, row in sorted(found.items()))
    return [row.replace("\xa0", " ") for row in rows]


@pytest.fixture
def app(redis_url: str, sqlite_url: str) -> Iterator[Celeriac]:
    settings = Settings(database_url=sqlite_url, broker_url=redis_url)
    made = build(settings, name="pictures", set_as_current=False)
    with made.database.transaction() as connection:
        Stock().write(connection)
    call(made, "schedules", "add", "poll", "maintenance.prune", "--every", "15s")
    yield made
    made.database.close()


def shown(kind: str) -> set[Path]:
    """The pictures of that kind that the pages show."""
    return {
        (page.parent / name).resolve()
        for page in PAGES
        for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())
        if name.startswith(("docs/images", "images")) and name.endswith(kind)
    }


def test_every_picture_of_a_page_is_made_by_the_script_and_shown() -> None:
    assert shown(".svg") == {picture.path for picture in (DEMO, *PICTURES)} == set(IMAGES.glob("*.svg"))


def test_every_plot_of_a_page_is_of_a_workload_and_shown() -> None:
    plots = {IMAGES / f"bench-{workload.name}.png" for workload in WORKLOADS}
    assert shown(".png") == set(IMAGES.glob("*.png"))
    assert shown(".png") <= plots | {page.file for page in PAGES_OF_THE_CONSOLE}


def test_every_picture_of_the_console_is_shown() -> None:
    assert {page.file for page in PAGES_OF_THE_CONSOLE} <= shown(".png")


@pytest.mark.parametrize("picture", TABLES, ids=lambda picture: picture.name)
def test_a_table_has_the_headings_of_its_picture(picture: Picture, app: Celeriac) -> None:
    printed_now = call(app, *picture.words, columns=picture.columns).stdout.splitlines()
    assert lines(picture.path.read_text())[0].split() == printed_now[0].split()


def test_the_doctor_still_looks_at_what_its_picture_shows(app: Celeriac) -> None:
    (picture,) = (picture for picture in PICTURES if picture.name == "doctor")
    checked = re.compile(r"^(?:ok|warn|fail) +(\w+) +([\w ]+):", re.MULTILINE)
    now = set(checked.findall(call(app, "doctor").stdout))
    then = set(checked.findall("\n".join(lines(picture.path.read_text()))))
    assert len(then) > 10
    assert {("ledger", "stranded"), ("broker", "eviction"), ("workers", "alive")} <= now & then


def test_a_picture_shows_what_a_process_prints(redis_url: str, sqlite_url: str) -> None:
    picture = Picture("none", ("queues",))
    text = printed(picture, environment(redis_url, sqlite_url))
    assert "\x1b[" in text, "a terminal has colours"
    drawn_lines = lines(drawn(picture, text))
    assert drawn_lines[0].split()[:4] == ["queue", "due", "later", "running"]
    assert [line.split()[0] for line in drawn_lines[2:]] == ["critical", "high", "normal", "low"]


@pytest.mark.parametrize("secret", [str(ROOT), str(Path.home())])
def test_a_picture_of_this_machine_is_refused(secret: str) -> None:
    with pytest.raises(Revealing):
        drawn(DEMO, f'  File "{secret}/tasks/webhooks.py"')


@pytest.mark.parametrize("picture", [DEMO, *PICTURES], ids=lambda picture: picture.name)
def test_a_picture_fetches_nothing(picture: Picture) -> None:
    links = set(re.findall(r"https?://[^\"'<) ]+", picture.path.read_text()))
    assert {link for link in links if "w3.org" not in link and "127.0.0.1" not in link} == set()
