"""Results of a test: in memory, gone with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from celery.backends.cache import CacheBackend

from celeriac.ids import parse_row_id
from celeriac.task.results.uncommitted import refuse_uncommitted


class MemoryBackend(CacheBackend):
    """Celery's own backend in memory, which can be asked what a worker asks its result store."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, backend="memory", **options)
        self._kept: dict[UUID, str] = {}

    def mark_as_done(self, task_id: str, result: Any, *args: Any, **kwargs: Any) -> None:
        self._kept[parse_row_id(task_id)] = self.encode(result)
        super().mark_as_done(task_id, result, *args, **kwargs)

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nobody waits for a message."""

    def wait_for_pending(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_uncommitted(self.app, [result])
        return super().wait_for_pending(result, *args, **kwargs)

    def metas(self, task_ids: Sequence[str], *, ledger: bool) -> list[dict[str, Any]]:
        return [{"task_id": text, **self._get_task_meta_for(text)} for text in task_ids]

    def stored_results(self, jobs: Mapping[UUID, str]) -> dict[UUID, str]:
        return {job: self._kept[job] for job in jobs if job in self._kept}
