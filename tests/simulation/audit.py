"""What must hold at every change of a row, judged by triggers, not by the ledger's answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any
from uuid import UUID

#: What is seen of a row, in this order.
COLUMNS = (
    "id",
    "state",
    "worker_id",
    "try_count",
    "max_tries",
    "tries_before",
    "next_attempt_after",
    "expires",
    "cancel_requested",
    "dispatched",
    "queue",
    "held",
    "queued",
    "permit_1",
    "permit_2",
    "weight_1",
    "weight_2",
)

# Written out here and not taken from the ledger's own table, which is what is being judged.
WAITING = ("pending", "error")
TERMINAL = ("completed", "failed", "cancelled")


class Violation(Exception):
    """A promise was broken."""


@dataclass(slots=True)
class Row:
    """A row as it was last committed. ``claim`` numbers all claims there ever were; 0: not held."""

    state: str
    worker: str | None
    tries: int
    max_tries: int
    before: int
    due: int
    expires: int | None
    cancel: str | None
    dispatched: int | None
    queue: str
    held: str | None
    queued: int
    permit_1: str | None
    permit_2: str | None
    weight_1: int | None
    weight_2: int | None
    claim: int = 0

    def values(self) -> tuple[Any, ...]:
        return astuple(self)[:-1]

    def takes(self) -> dict[str, int]:
        """The weight that it takes of each permit."""
        both = ((self.permit_1, self.weight_1), (self.permit_2, self.weight_2))
        return {name: weight or 1 for name, weight in both if name is not None}


class Audit:
    """Follows every row through its life and raises ``Violation`` at the first move that is not allowed.

    Args:
        now: microseconds since 1970, on the clock of the database.
    """

    def __init__(self, now: Any) -> None:
        self.rows: dict[UUID, Row] = {}
        self.refused: set[UUID] = set()  # never to be seen: enqueued in a transaction that was rolled back
        self.paused: set[str] = set()  # queues
        self.limits: Any = None  # ``tests.simulation.limits.Rules``, where there are any
        self._now = now
        self._claims = 0
        self._ended: dict[UUID, set[int]] = {}  # the attempts of each job whose outcome was accepted
        self._live: set[tuple[UUID, int]] = set()  # the attempts that a process believes to hold
        self._changes: list[tuple[Any, ...]] = []
        self._actor: str | None = None
        self._doing = ""
        self._presenting: Mapping[UUID, int] = {}

    # ---- from the database

    def witness(self, *values: Any) -> None:
        self._changes.append(values)

    def begin(self, actor: UUID | None, doing: str, presenting: Mapping[UUID, int]) -> None:
        """A transaction of ``actor`` begins, which presents outcomes of these claims or attempts."""
        self._changes.clear()
        self._actor, self._doing, self._presenting = actor.hex if actor else None, doing, presenting

    def rolled_back(self) -> None:
        self._changes.clear()

    def committed(self) -> None:
        for values in self._changes:
            job = UUID(values[0])
            old = self.rows.get(job)
            if len(values) == 1:
                self._deleted(job, old)
                continue
            new = Row(*values[1:], claim=old.claim if old else 0)
            if old is None:
                self._inserted(job, new)
            else:
                self._changed(job, old, new)
            self.rows[job] = new
        self._changes.clear()

    # ---- from the processes

    def won(self, job: UUID, attempt: int) -> int:
        """A worker was told that it holds an attempt; return the number of its claim."""
        row = self.rows.get(job)
        self._require(row is not None, job, "a job without a row was won")
        assert row is not None
        self._require(
            row.state == "running" and row.tries == attempt and row.worker == self._actor,
            job,
            f"attempt {attempt} was won and the row does not say so",
        )
        self._require((job, attempt) not in self._live, job, f"attempt {attempt} has two live holders")
        self._live.add((job, attempt))
        return row.claim

    def over(self, job: UUID, attempt: int) -> None:
        """The process that held an attempt has ended it, or has ended itself."""
        self._live.discard((job, attempt))

    def open_jobs(self) -> list[UUID]:
        return [job for job, row in self.rows.items() if row.state not in TERMINAL]

    def compare(self, table: Iterable[tuple[Any, ...]]) -> None:
        """The triggers must have seen everything that is in the table."""
        seen = {(job.hex, *row.values()) for job, row in self.rows.items()}
        if seen != set(table):
            raise Violation("the audit and the table differ")

    # ---- the rules

    def _inserted(self, job: UUID, new: Row) -> None:
        self._require(job not in self.refused, job, "a rolled back enqueue left a row")
        self._require(new.state == "pending" and new.tries == 0, job, "a job began in the middle")
        self._ended[job] = set()

    def _deleted(self, job: UUID, old: Row | None) -> None:
        self._require(
            old is not None and old.state in TERMINAL and self._doing == "prune",
            job,
            "a living row was deleted",
        )
        del self.rows[job]
        del self._ended[job]

    def _changed(self, job: UUID, old: Row, new: Row) -> None:
        self._require(0 <= new.before <= new.tries <= new.max_tries, job, "more tries than it was given")
        kept = new.held is None or (new.state in WAITING and new.dispatched is None)
        self._require(kept, job, f"{new.state} and held, or held and sent")
        sent = old.dispatched is None and new.dispatched is not None
        if sent and new.permit_1 is not None and new.state not in TERMINAL:
            broken = self.limits.judge(self.rows, job, new, self._doing)
            self._require(broken is None, job, broken or "")
        if old.state in TERMINAL:
            self._left_terminal(job, old, new)
        elif old.state == "running":
            self._held(job, old, new)
        elif new.state == "running":
            self._claimed(job, old, new)
        else:
            self._waited(job, old, new)
        if new.state != "running":
            self._require(
                new.tries == len(self._ended[job]),
                job,
                "an attempt that never ran was counted, or one was not",
            )

    def _left_terminal(self, job: UUID, old: Row, new: Row) -> None:
        if new.values() == old.values():
            return
        self._require(self._doing == "replay", job, f"{old.state} was left by {self._doing}")
        self._require(old.state != "completed" and new.state == "pending", job, "a replay of what is done")
        fresh = (
            new.before == old.tries == new.tries and new.max_tries - new.before == old.max_tries - old.before
        )
        self._require(fresh and new.cancel is None, job, "a replay did not give fresh tries")

    def _claimed(self, job: UUID, old: Row, new: Row) -> None:
        now = self._now()
        if new.permit_1 is not None:
            broken = self.limits.start(new, now)
            self._require(broken is None, job, broken or "")
        self._require(old.cancel is None, job, "a cancelled job was started again")
        self._require(old.queue not in self.paused, job, "claimed while its queue was paused")
        due = old.due <= now or (old.dispatched is not None and old.due <= old.dispatched)
        self._require(due, job, "claimed before it was due")
        self._require(old.expires is None or old.expires > now, job, "claimed after it had expired")
        self._require(new.worker == self._actor and self._doing == "turn", job, "claimed for another")
        self._require(new.tries == old.tries + 1, job, "a claim did not count")
        self._require(new.tries not in self._ended[job], job, f"attempt {new.tries} was held again")
        self._claims += 1
        new.claim = self._claims

    def _held(self, job: UUID, old: Row, new: Row) -> None:
        mine = old.worker == self._actor
        if new.state == "running":
            same = (old.worker, old.tries) == (new.worker, new.tries)
            self._require(same, job, f"taken from its holder by {self._doing}")
            return
        new.claim = 0
        if new.tries == old.tries - 1:  # given back: released or replaced
            self._require(mine, job, f"given back by {self._doing} of one that does not hold it")
            presented = self._presenting.get(job, old.claim) == old.claim
            self._require(presented, job, f"attempt {old.tries} given back by the outcome of another")
            self._require(new.state in ("pending", "cancelled"), job, f"given back as {new.state}")
            self._require(new.state == "cancelled" or not old.cancel, job, "a cancelled job waits again")
            return
        self._require(
            mine or self._doing == "rescue", job, f"outcome by {self._doing} of one that does not hold it"
        )
        self._require(not mine or self._doing != "rescue", job, "a living worker was rescued from, by itself")
        # The holder must speak of this very claim; who rescues knows only the number of the attempt.
        presented = self._presenting.get(job) == (old.claim if mine else old.tries)
        self._require(presented, job, f"attempt {old.tries} ended by the outcome of another")
        self._require(
            new.state != "pending" and new.tries == old.tries, job, f"{new.state}, tries {new.tries}"
        )
        self._require(old.tries not in self._ended[job], job, f"attempt {old.tries} ended twice")
        self._ended[job].add(old.tries)

    def _waited(self, job: UUID, old: Row, new: Row) -> None:
        self._require(new.tries == old.tries and new.claim == 0, job, "tries changed while it waited")
        self._require(new.state != "completed", job, "completed without an attempt")
        moved = new.state != old.state
        self._require(not moved or new.state in TERMINAL, job, f"{old.state} became {new.state}")
        self._require(not moved or self._doing in ("turn", "cancel"), job, f"ended by {self._doing}")

    def _require(self, holds: bool, job: UUID, broken: str) -> None:
        if not holds:
            raise Violation(f"job {job.hex[:6]}: {broken}")
