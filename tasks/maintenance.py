"""The ledger's housekeeping, as jobs."""

from celery import shared_task

from celeriac import prune as prune_ledger


@shared_task(name="maintenance.prune", max_tries=2, time_limit=3600)
def prune() -> dict[str, int]:
    """Delete terminal rows that are older than their retention; returns how many went, by kind."""
    return prune_ledger()
