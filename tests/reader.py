"""A reader who types every block of Python that the README and docs/ show: ``python -m tests.reader FOLDER``.

In a process of its own, because tasks that are declared stay declared. Its ledger is a private one, without a
broker. Prints a line of JSON: what went wrong, by block.
"""

from __future__ import annotations

import ast
import doctest
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from celery import chain, chord, group, shared_task
from sqlalchemy import create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from app.celery import app
from celeriac import complete_in, enqueue_in
from celeriac.testing import Kit, new_ledger
from tasks.webhooks import deliver
from tests.documented import API_PAGE, OF_A_PROJECT, PAGES, Block, Kind, blocks

#: Stands for the id of a job, here of a dead letter of ``mail.welcome``.
SOME_ID = "01a2…"


class _Base(DeclarativeBase):
    pass


class Order(_Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


class Booking(_Base):
    __tablename__ = "bookings"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int]


@shared_task(name="mail.welcome", max_tries=1)
def welcome(user_id: int) -> None:
    if user_id == 13:
        raise ConnectionError("no mail server")


@shared_task(name="shop.step")
def step(*_: Any) -> None:
    """Stands for every task that a page names and nobody ships."""


def stage(kit: Kit) -> dict[str, Any]:
    """What the reader of a page has at hand: the names that examples do not explain."""
    engine = create_engine(kit.database.url)
    _Base.metadata.create_all(engine)
    tasks = dict.fromkeys(("confirm", "fetch", "notify", "publish", "remind", "resize", "store"), step)
    celery = {"shared_task": shared_task, "group": group, "chain": chain, "chord": chord}
    ours = {"enqueue_in": enqueue_in, "complete_in": complete_in, "app": app, "Session": Session}
    data = {"engine": engine, "order": Order(), "Booking": Booking, "url": "https://example.org/hook"}
    lists = {"orders": [{"order": 1}, {"order": 2}], "images": ["a.png", "b.png"]}
    return {
        "__name__": "reader",
        "deliver": deliver,
        "welcome": welcome,
        **tasks,
        **celery,
        **ours,
        **data,
        **lists,
    }


def dead_letter(kit: Kit) -> str:
    welcome.delay(13)
    kit.drain()
    return kit.jobs("mail.welcome", state="failed")[-1].id


def run(block: Block, names: dict[str, Any], kit: Kit) -> None:
    if block.kind is Kind.SESSION:
        _session(block, names, kit)
    elif block.kind is Kind.SQL:
        with kit.database.reading() as connection:
            for statement in block.text.split(";"):
                if statement.strip():
                    connection.execute(text(statement))
    else:
        for node in ast.parse(block.text).body:
            source = ast.unparse(node)
            if SOME_ID in source:
                source = source.replace(SOME_ID, dead_letter(kit))
            exec(compile(source, str(block), "exec"), names)


def _session(block: Block, names: dict[str, Any], kit: Kit) -> None:
    typed = "\n".join(line for line in block.text.splitlines() if not line.startswith("$ "))
    test = doctest.DocTestParser().get_doctest(typed, names, str(block), str(block.page), block.line)
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    for example in test.examples:
        kit.drain()  # a worker is up
        one = doctest.DocTest([example], names, test.name, test.filename, test.lineno, typed)
        runner.run(one, out=said.append, clear_globs=False)
        names.update(one.globs)
    assert not runner.summarize(verbose=False).failed, "".join(said)


def main(folder: Path) -> None:
    wrong: dict[str, str] = {}
    seen = 0
    for number, page in enumerate(page for page in PAGES if page not in (API_PAGE, *OF_A_PROJECT)):
        with Kit(app, new_ledger(folder / f"{number}.db")) as kit:
            names = stage(kit)
            for block in blocks(page):
                if block.kind not in (Kind.PYTHON, Kind.SESSION, Kind.SQL):
                    continue
                seen += 1
                try:
                    run(block, names, kit)
                except Exception:  # of whatever the page says
                    wrong[str(block)] = traceback.format_exc(limit=-3)
    print(json.dumps({"seen": seen, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
