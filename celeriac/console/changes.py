"""The log of who changed what in the console. The record that lasts is ``celeriac.operate.actions``."""

from __future__ import annotations

import logging

from celeriac.display import safe
from celeriac.events import Event

logger = logging.getLogger(__name__)


def log_change(user: str, action: str, subject: str) -> None:
    """Log who did what; never a value of a job."""
    fields = {"user": safe(user), "action": action, "subject": safe(subject, length=300)}
    logger.info(Event.CONSOLE_CHANGE, fields)


def log_action(user: str, action: str, subject: str, *, jobs: int) -> None:
    """Log who began an action on many jobs."""
    fields = {"user": safe(user), "action": action, "filter": safe(subject, length=500), "jobs": jobs}
    logger.info(Event.CONSOLE_ACTION, fields)
