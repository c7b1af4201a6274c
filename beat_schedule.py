"""The static schedules: data only. The platform's own, which prunes the ledger every day, needs no entry."""

from typing import Any

SCHEDULE: dict[str, Any] = {}
