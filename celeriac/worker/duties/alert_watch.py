"""Look for what is to be told outside. Of all workers one looks at a time; without a receiver none does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.worker.duties.keeper import Duty

if TYPE_CHECKING:
    from celeriac.application import Celeriac


def duties(app: Celeriac) -> list[list[Duty]]:
    """A list with a thread of its own, since a look at a large ledger takes its time; or none."""
    if not app.settings.alert_channels:
        return []
    from celeriac.operate.alerts import rounds  # what a worker without alerts does not need

    def look() -> None:
        rounds.look(app)

    return [[Duty("alerts", look, rounds.EVERY)]]
