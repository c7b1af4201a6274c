"""The static schedules: data only."""

SCHEDULE = {
    "prune the ledger": {"task": "maintenance.prune", "schedule": 86_400.0, "options": {"priority": "low"}},
}
