"""A test message: whether alerts reach those who are named, before there is something to tell."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celeriac.application import current_app
from celeriac.broker import sending
from celeriac.errors import BadArgument
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.bulk_insert import enqueue_all
from celeriac.operate import actions
from celeriac.operate.actions import Actor
from celeriac.operate.alerts.rounds import prepared
from celeriac.operate.job import job

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_LOOK = 0.3  # seconds between two looks at the jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A test message on its way by one channel.

    Attributes:
        taken: None: no attempt to send it has ended.
        failure: why it was not taken; it is tried again, as every alert is.
    """

    channel: str
    id: str  # of the job that sends it
    taken: bool | None = None
    failure: str | None = None


def send(*, actor: Actor, app: Celeriac | None = None) -> list[Sent]:
    """Enqueue a test message for each channel, as an alert would be.

    Raises:
        BadArgument: this process's settings name no receiver.
    """
    platform = current_app(app)
    if not platform.settings.alert_channels:
        raise BadArgument("alerts", f"nobody is named who gets them: set {_NAMES}; see docs/alerts.md")
    told = {"state": "test", "key": "test", "kind": "test", "path": "/doctor", "sentence": _SENTENCE}
    jobs = prepared(platform, [told])
    with platform.database.transaction() as connection:
        new = enqueue_all(connection, jobs)
        for channel in platform.settings.alert_channels:
            actions.record(
                "alerts test", who=actor.who, via=actor.via, subject=channel, connection=connection
            )
    if unsent := [one for one in jobs if one.id in new and one.dispatch_count]:
        sending.send(platform, unsent)
    pairs = zip(platform.settings.alert_channels, jobs, strict=True)
    return [Sent(channel=channel, id=str(one.id)) for channel, one in pairs]


def outcomes(sent: list[Sent], *, within: float, app: Celeriac | None = None) -> list[Sent]:
    """What became of the first attempt of each, after at most so many seconds."""
    platform, end = current_app(app), time.monotonic() + within
    while True:
        found = [_seen(platform, one) for one in sent]
        if all(one.taken is not None for one in found) or time.monotonic() >= end:
            return found
        time.sleep(_LOOK)


def _seen(app: Celeriac, one: Sent) -> Sent:
    found = job(one.id, app=app)
    taken: Mapping[JobState, bool] = {
        JobState.COMPLETED: True,
        JobState.ERROR: False,
        JobState.FAILED: False,
        JobState.CANCELLED: False,
    }
    return Sent(channel=one.channel, id=one.id, taken=taken.get(found.state), failure=found.failure_info)


_NAMES = "CELERIAC_ALERT_WEBHOOK, CELERIAC_ALERT_SLACK or CELERIAC_ALERT_EMAIL"
_SENTENCE = "this is a test: alerts reach you"
