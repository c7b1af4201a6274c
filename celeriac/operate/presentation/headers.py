"""The headers of a job's message as people may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeriac.enqueue import arguments
from celeriac.errors import JobNotFound
from celeriac.ids import parse_row_id
from celeriac.ledger.reads import job_rows
from celeriac.operate.presentation.shapes import plain

if TYPE_CHECKING:
    from celeriac.application import Celeriac

#: The arguments as text. The body has them, and a producer that is not ours hides nothing here.
_ARGUMENTS = ("argsrepr", "kwargsrepr")


def shown_headers(app: Celeriac, id: str, *, reveal: bool = False) -> dict[str, Any]:
    """The headers as they were sent, without arguments. Sensitive values are hidden unless ``reveal``.

    Raises:
        JobNotFound: the ledger has no such job.
    """
    with app.database.reading() as connection:
        row = job_rows.find(connection, parse_row_id(id, name="id"))
    if row is None:
        raise JobNotFound(id)
    found = {name: value for name, value in row.headers.items() if name not in _ARGUMENTS}
    shown: dict[str, Any] = plain(found if reveal else arguments.hidden(found))
    return shown
