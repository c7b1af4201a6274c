"""Count the calls of this process whose unique key another job has."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from celeriac.limits.unique import OnConflict

#: Tasks that are told apart. All others are counted together as ``other``.
_TASKS = 200


class Duplicates:
    """How many calls each task had whose key another job has, by what became of them.

    They leave no row behind, or one that follows: only who calls can count them. Any thread may.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tasks: set[str] = set()
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(self, task: str, conflict: OnConflict) -> None:
        """Count one call."""
        with self._lock:
            if task not in self._tasks and len(self._tasks) < _TASKS:
                self._tasks.add(task)
            self._counts[task if task in self._tasks else "other", _ANSWERS[conflict]] += 1

    def counts(self) -> dict[tuple[str, str], int]:
        """How many, by task and answer; each task that was counted has all answers."""
        with self._lock:
            tasks = sorted({task for task, _ in self._counts})
            return {(task, word): self._counts[task, word] for task in tasks for word in _ANSWERS.values()}


_ANSWERS = {OnConflict.KEEP: "kept", OnConflict.REPLACE: "replaced", OnConflict.REJECT: "rejected"}
