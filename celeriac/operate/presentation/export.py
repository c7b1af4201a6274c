"""A list of jobs as a file, CSV or JSON: read a page at a time, and written as it is read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celeriac.display import safe
from celeriac.operate.job import LARGEST_PAGE, as_of_now
from celeriac.operate.listing import MOST_SEARCHED, Filter, ListedJob, Sort, page
from celeriac.operate.presentation.shapes import VERSION, plain

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: Jobs of one file, at most.
MOST = 100_000

_COLUMNS = tuple(field.name for field in fields(ListedJob))

#: A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Export:
    """The jobs that match, the newest first or as ``sort`` says. What is accepted later is not among them.

    Attributes:
        written: jobs so far.
        cut: whether there are more than ``most``; known at the end.
    """

    def __init__(self, wanted: Filter, *, sort: Sort = Sort.NEWEST, most: int = MOST, app: Celeriac) -> None:
        self._wanted = as_of_now(wanted, app=app)
        self._sort, self._most, self._app = sort, most, app
        self.written, self.cut = 0, False

    def csv(self) -> Iterator[str]:
        """The file in parts: a line of names, then one for each job."""
        yield _lines([_COLUMNS])
        for jobs in self._pages():
            yield _lines([[_cell(value) for value in plain(job).values()] for job in jobs])

    def json(self) -> Iterator[str]:
        """One document in parts: ``jobs``, and ``cut``."""
        yield f'{{"version": {VERSION}, "command": "jobs list", "jobs": ['
        before = "\n"
        for jobs in self._pages():
            yield before + ",\n".join(json.dumps(plain(job)) for job in jobs)
            before = ",\n"
        yield f'\n], "cut": {json.dumps(self.cut)}}}\n'

    def _pages(self) -> Iterator[tuple[ListedJob, ...]]:
        after: str | None = None
        while self.written < self._most:
            limit = min(LARGEST_PAGE, self._most - self.written)
            found = page(
                self._wanted, sort=self._sort, limit=limit, after=after, look_at=MOST_SEARCHED, app=self._app
            )
            if found.jobs:
                self.written += len(found.jobs)
                yield found.jobs
            after, self.cut = found.next, found.next is not None
            if after is None:
                return


def _lines(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    r"""A value in a cell: no formula, and nothing that is not seen.

    >>> _cell("=HYPERLINK(1)"), _cell(7), _cell(None), _cell("a\x1b")
    ("'=HYPERLINK(1)", '7', '', 'a\\x1b')
    """
    if value is None:
        return ""
    text = str(value)
    return safe(f"'{text}" if text.startswith(_FORMULA) else text)


def file_name(kind: str, now: datetime) -> str:
    """The name of a file.

    >>> file_name("csv", datetime(2030, 1, 2, 3, 4))
    'jobs-20300102-0304.csv'
    """
    return f"jobs-{now:%Y%m%d-%H%M}.{kind}"
