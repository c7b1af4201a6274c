"""libpq's pipeline mode: several statements and one Sync, in one round trip.

psycopg's own pipeline sends a Flush behind its last Sync. The server then no longer counts a transaction that
is left open as idle, and would never end that of a frozen process.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from celeriac.ledger.connection.compiled_statement import CompiledStatement

#: PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_PIPELINE_SYNC, PGRES_PIPELINE_ABORTED
#: (postgresql.org/docs/current/libpq-exec.html).
_OK, _TUPLES, _SYNC, _ABORTED = 1, 2, 10, 11

#: A text without parameters, or a statement with them.
Command = str | tuple[CompiledStatement, Mapping[str, Any]]


class _Ready(NamedTuple):
    """A command as it is sent.

    Attributes:
        binary: of each value, whether it is in the server's binary format.
    """

    statement: CompiledStatement | None
    text: bytes
    written: list[bytes | None] | None = None
    binary: list[bool] | None = None


class Pipeline:
    """Of one connection of psycopg, for as long as that lives.

    Args:
        driver: psycopg's connection.
        errors: psycopg's module.
        prepares: whether statements may be prepared on the server.
    """

    def __init__(self, driver: Any, errors: Any, *, schema: str | None, prepares: bool) -> None:
        self._driver = driver
        self._errors = errors
        self._schema = schema
        self._prepares = prepares
        self._names: dict[CompiledStatement, bytes] = {}
        self._transformer = errors.adapt.Transformer(driver)  # in C, where psycopg has it so
        self._count = 0

    def run(self, commands: Sequence[Command]) -> list[list[tuple[Any, ...]]]:
        """Execute them in their order; return the rows of each.

        Raises:
            psycopg.Error: the first error. What follows it was not executed.
        """
        asked, results = self._executed(commands, None)
        answers = iter(results)
        return [self._rows([next(answers) for _ in range(sent)][-1]) for sent in asked]

    def change(
        self, statement: CompiledStatement, values: Mapping[str, Any], meanwhile: Callable[[], object]
    ) -> int:
        """Execute one statement; return how many rows it changed.

        Args:
            meanwhile: called when it was sent, while the server works on it. It must neither raise nor wait.

        Raises:
            psycopg.Error: as of ``run``.
        """
        _, results = self._executed([(statement, values)], meanwhile)
        return results[-1].command_tuples or 0

    def _executed(
        self, commands: Sequence[Command], meanwhile: Callable[[], object] | None
    ) -> tuple[list[int], list[Any]]:
        """The number of results of each command, and all results."""
        ready = [self._ready(each) for each in commands]  # before anything is sent: a value may be refused
        connection = self._driver.pgconn
        connection.enter_pipeline_mode()
        named: dict[CompiledStatement, bytes] = {}
        asked = [self._send(connection, each, named) for each in ready]
        connection.pipeline_sync()
        if meanwhile is not None:
            meanwhile()
        results = self._results(connection)
        connection.exit_pipeline_mode()
        for result in results:
            if result.status not in (_OK, _TUPLES):
                raise self._error(result)
        self._names |= named
        return asked, results

    def _ready(self, command: Command) -> _Ready:
        if isinstance(command, str):
            return _Ready(None, command.encode())
        statement, values = command
        text, names, fixed = statement.compiled(self._schema)
        given = [values[name] if name in values else fixed[name] for name in names]
        written = [self._written(each) for each in given]
        return _Ready(statement, text, written, [type(each) is bytes for each in given])

    def _send(self, connection: Any, ready: _Ready, named: dict[CompiledStatement, bytes]) -> int:
        """Send it; return how many results there will be."""
        statement, text, written, binary = ready
        if statement is None or not self._prepares:
            connection.send_query_params(text, written, param_formats=binary)
            return 1
        sent = 1
        name = self._names.get(statement) or named.get(statement)
        if name is None:
            self._count += 1
            name = named[statement] = b"celeriac_trip_%d" % self._count
            connection.send_prepare(name, text)
            sent = 2
        connection.send_query_prepared(name, written, param_formats=binary)
        return sent

    def _results(self, connection: Any) -> list[Any]:
        """All results up to the Sync."""
        poller = select.poll()
        poller.register(connection.socket, select.POLLIN | select.POLLOUT)
        while connection.flush():
            poller.poll()
            connection.consume_input()
        poller.modify(connection.socket, select.POLLIN)
        results: list[Any] = []
        while True:
            while connection.is_busy():
                poller.poll()
                connection.consume_input()
            result = connection.get_result()
            if result is None:
                if self._driver.closed:
                    raise self._lost(results, connection)
            elif result.status == _SYNC:
                return results
            else:
                results.append(result)

    def _lost(self, results: Sequence[Any], connection: Any) -> Exception:
        wrong = [each for each in results if each.status not in (_OK, _TUPLES, _ABORTED)]
        if wrong:
            return self._error(wrong[0])
        error: Exception = self._errors.OperationalError(connection.error_message.decode(errors="replace"))
        return error

    def _error(self, result: Any) -> Exception:
        state = (result.error_field(ord("C")) or b"").decode()
        try:
            kind = self._errors.errors.lookup(state)
        except KeyError:
            kind = self._errors.DatabaseError
        error: Exception = kind(result.error_message.decode(errors="replace").strip())
        return error

    def _rows(self, result: Any) -> list[tuple[Any, ...]]:
        if not result.nfields:
            return []
        self._transformer.set_pgresult(result)
        rows: list[tuple[Any, ...]] = self._transformer.load_rows(0, result.ntuples, tuple)
        return rows

    def _written(self, value: Any) -> bytes | None:
        """As the server reads it: bytes as they are, which is its binary format, all others as text."""
        if value is None or type(value) is bytes:
            return value
        if isinstance(value, list):
            texts = (str(each).replace("\\", "\\\\").replace('"', '\\"') for each in value)
            text = "{" + ",".join(f'"{text}"' for text in texts) + "}"
        else:
            text = value.isoformat() if isinstance(value, datetime) else str(value)
        if "\0" in text:  # where libpq would end it
            raise self._errors.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
        return text.encode()
