"""Write a chunk of similar jobs with COPY, in two steps, so that the next chunk is made in between."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from celeriac.broker import sending, wire
from celeriac.enqueue.reused_id import Caller
from celeriac.enqueue.unique.key_rules import key_rules
from celeriac.enqueue.write import settling, write
from celeriac.errors import LedgerUnavailable
from celeriac.ledger.connection.database import UNREACHABLE
from celeriac.ledger.writes.acceptance import accept_again, patience
from celeriac.ledger.writes.copy_in import SimilarJobs, copying

if TYPE_CHECKING:
    from celeriac.application import Celeriac


class CopyWrite:
    """A transaction that was begun, and whose rows are on their way to PostgreSQL.

    ``begin`` runs in the caller's thread, because it needs the processor: rows and messages are made into
    text. ``finish`` runs in another, because it waits: for COPY, for the commit, for the broker. The
    connection passes from the one to the other, and only one of them uses it at a time.
    """

    def __init__(
        self, app: Celeriac, jobs: SimilarJobs, messages: Sequence[str], transaction: ExitStack
    ) -> None:
        self._app = app
        self._jobs = jobs
        self._messages = messages
        self._transaction = transaction  # closed: COPY ends, and the transaction is committed
        self._caller = Caller.of(app)

    @classmethod
    def begin(cls, app: Celeriac, jobs: SimilarJobs) -> CopyWrite:
        """Begin a transaction and send the rows.

        Raises:
            LedgerUnavailable: the database cannot be reached; nothing was written.
        """
        if app.broker_state.resting:
            jobs = jobs.unsent()
        messages: list[str] = []
        if jobs.model.dispatch_count:
            messages = list(wire.write_similar(jobs.model, jobs.headers(), jobs.rows))
        within = patience((len(payload) for _, payload, _ in jobs.rows), app.settings.enqueue_timeout)
        try:
            with ExitStack() as transaction:
                connection = transaction.enter_context(app.database.transaction(within=within))
                transaction.enter_context(copying(connection, jobs))
                return cls(app, jobs, messages, transaction.pop_all())
        except _lost(app) as exc:
            raise LedgerUnavailable(type(exc).__name__) from exc

    def finish(self) -> int:
        """Commit, then send the messages; return how many jobs are new.

        Raises:
            EnqueueUncertain: the database was lost inside the commit, and is lost still.
        """
        app = self._app
        try:
            self._transaction.close()
        except app.database.errors.IntegrityError:  # an id that exists: somebody makes ids of his own
            return write(app, self._jobs.jobs(), caller=self._caller).new
        except _lost(app):
            jobs = self._jobs.jobs()
            within, settle = app.settings.enqueue_timeout, settling(app, self._caller)
            rules, new = key_rules(app, self._caller), {job.id for job in jobs}
            accept_again(app.database, jobs, new, within=within, settle=settle, rules=rules)
        if self._messages:
            sending.send_similar(app, self._jobs, self._messages)
        return len(self._jobs.rows)


def _lost(app: Celeriac) -> tuple[type[Exception], ...]:
    """Errors of a connection that was lost."""
    errors = app.database.errors
    return (*UNREACHABLE, errors.OperationalError, errors.InterfaceError)
