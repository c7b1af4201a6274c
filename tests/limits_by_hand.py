"""What keepers and workers do with jobs that limits hold back, done by hand, step by step."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select

from celeriac.application import Celeriac
from celeriac.ids import new_uuid
from celeriac.ledger.limits import admission, in_use, limit_rows, lines
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes import claims, outcomes
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.limits.limit import of_tasks

ME = new_uuid()

_PERMITS = (JOBS.c.permit_1, JOBS.c.permit_2, JOBS.c.permit_3)


class ByHand:
    """An app, and what happens to its jobs."""

    def __init__(self, app: Celeriac) -> None:
        self.app = app
        self.database = app.database
        self.names: tuple[str, ...] = ()  # of the tasks whose limits are declared

    def declare(self) -> None:
        """What a worker that starts writes; of these tasks alone, not of shared ones that others imported."""
        limits, problems = of_tasks({name: self.app.tasks[name] for name in self.names})
        assert problems == []
        with self.database.transaction() as connection:
            limit_rows.declare(connection, limits.values())
            for name in limits:
                lines.wake_all(connection, name)

    def look(self) -> None:
        with self.database.transaction() as connection:
            lines.arrived(connection, lately=3600)
            lines.find_forgotten(connection, beyond=None, most=1000)

    def admit(self) -> list[str]:
        """One round; the ids of the jobs that may go."""
        with self.database.transaction() as connection:
            found = admission.admit(connection, limit_rows.read(connection))
        return [str(message.id) for message in found]

    def admit_all(self) -> list[str]:
        found: list[str] = []
        while some := self.admit():
            found += some
        return found

    def claim(self, *ids: str) -> dict[str, int]:
        with self.database.transaction() as connection:
            won = claims.claim(connection, [UUID(each) for each in ids], worker=ME)
        return {str(each): found.attempt for each, found in won.items()}

    def end(
        self, id: str, state: JobState = JobState.COMPLETED, *, attempt: int = 1, delay: float = 0
    ) -> None:
        """An outcome, and the wake that follows it."""
        self.end_quietly(id, state, attempt=attempt, delay=delay)
        self.wake(id)

    def end_quietly(
        self, id: str, state: JobState = JobState.COMPLETED, *, attempt: int = 1, delay: float = 0
    ) -> None:
        """An outcome that nobody hears of."""
        with self.database.transaction() as connection:
            done = Outcome(id=UUID(id), attempt=attempt, state=state, delay=delay)
            assert outcomes.record(connection, [done], worker=ME)

    def wake(self, id: str) -> None:
        with self.database.transaction() as connection:
            row = connection.execute(select(*_PERMITS).where(JOBS.c.id == UUID(id))).one()
            lines.wake(connection, {name: 50 for name in row if name})

    def used(self, permit: str) -> int:
        with self.database.reading() as connection:
            return in_use.count(connection, [permit])[permit]
