"""``/jobs.csv`` and ``/jobs.json``: the list of ``/jobs`` as a file, written while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from starlette.responses import Response, StreamingResponse

from celeriac.console.page_request import PageRequest
from celeriac.console.pages.jobs import sort_of
from celeriac.operate.presentation.export import Export, file_name
from celeriac.operate.presentation.filter_words import filter_of, words_in


def as_csv(ask: PageRequest) -> Response:
    return _file(_export(ask).csv(), "csv", "text/csv")


def as_json(ask: PageRequest) -> Response:
    return _file(_export(ask).json(), "json", "application/json")


def _export(ask: PageRequest) -> Export:
    wanted = filter_of(words_in(ask.query))
    return Export(wanted, sort=sort_of(ask.query.get("sort")), app=ask.app)


def _file(parts: Iterator[str], kind: str, media_type: str) -> Response:
    """The file. What is refused at once, as by the database, is raised here, before the answer begins."""
    first = [next(parts), next(parts, "")]

    def rest() -> Iterator[str]:
        yield from first
        yield from parts

    name = file_name(kind, datetime.now(UTC))
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(rest(), media_type=media_type, headers=headers)
