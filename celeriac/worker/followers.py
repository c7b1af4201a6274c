"""Followers: jobs that wait for the one that has their key. Whoever ends that one lets them go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from uuid import UUID

from sqlalchemy import Connection

from celeriac.enqueue.unique.key_rules import compose
from celeriac.errors import KeyBusy
from celeriac.ledger.connection.database import Database
from celeriac.ledger.writes.unique import deciding, followers

#: Seconds between two looks for what nobody has let go, and the followed jobs of one look.
EVERY, _PAGE = 1.0, 200

#: Seconds to wait for a transaction that has the key of an undecided job; it is tried again.
_PATIENCE = 0.2


class Followers:
    """
    Args:
        on_change: called when jobs became due.
    """

    def __init__(self, database: Database, *, on_change: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._on_change = on_change
        self._lock = threading.Lock()
        self._ended: set[UUID] = set()
        self._looked = -EVERY
        self._beyond = followers.FIRST

    def ended(self, jobs: Iterable[UUID]) -> None:
        """Note that attempts of these jobs have ended; called by the ledger thread."""
        with self._lock:
            self._ended.update(jobs)

    def run(self) -> None:
        """Let go what follows the jobs that were noted; now and then, what follows any that has ended."""
        with self._lock:
            ended, self._ended = self._ended, set()
        changed = self._let_go(sorted(ended)) if ended else 0
        if time.monotonic() - self._looked >= EVERY:
            self._looked = time.monotonic()
            changed += self.sweep()
        if changed:
            self._on_change()

    def sweep(self) -> int:
        """Look at the next jobs that others follow; return how many rows were decided, or let go."""
        with self._database.reading() as connection:
            page = followers.followed(connection, beyond=self._beyond, most=_PAGE)
            open_ = followers.undecided(connection, page)
        self._beyond = page[-1] if len(page) == _PAGE else followers.FIRST
        return sum(self._decide(job) for job in open_) + self._let_go(page)

    def _let_go(self, jobs: list[UUID]) -> int:
        if not jobs:
            return 0
        return self._database.again(lambda connection: followers.let_go(connection, jobs))

    def _decide(self, job: UUID) -> bool:
        def decided(connection: Connection) -> str | None:
            return deciding.decide(connection, job, compose, patience=_PATIENCE)

        try:
            return self._database.again(decided) is not None
        except KeyBusy:
            return False
