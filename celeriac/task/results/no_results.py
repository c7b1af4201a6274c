"""Results where ``result_backend`` is disabled: nobody keeps return values, the ledger knows the states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from celery.backends.base import BaseBackend, DisabledBackend

from celeriac.task.results.carried import CarriedResult
from celeriac.task.results.ledger_answers import UNKNOWN, answers

if TYPE_CHECKING:
    from celeriac.application import Celeriac


class NoResults(DisabledBackend):
    """Celery's own, which refuses chords and ``.get()``; a state is read from the ledger."""

    app: Celeriac

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        found = answers(self.app, [task_id])
        return found[0] if found else {"status": UNKNOWN, "result": None}

    def get_state(self, *args: Any, **kwargs: Any) -> Any:
        """As of a result store that keeps states."""
        return BaseBackend.get_state(self, *args, **kwargs)

    get_status = get_state

    def wait_for(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(
            "result_backend is disabled: no return value is kept; .state has how far the job is"
        )

    get_many = metas = wait_for

    def stored_results(self, jobs: Mapping[UUID, str]) -> dict[UUID, str]:
        """None: nothing is stored."""
        return {}

    def stored_states(self, jobs: Mapping[UUID, str]) -> dict[UUID, str]:
        """None: nothing is stored."""
        return {}

    def store_carried(self, results: Sequence[tuple[str, CarriedResult]]) -> None:
        """Do nothing: no result is kept."""

    def close(self) -> None:
        """Do nothing: nothing is open."""
