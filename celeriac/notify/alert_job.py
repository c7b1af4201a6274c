"""The job that sends an alert: what it needs beside its arguments is in the worker's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celeriac.notify import http_post, mail

if TYPE_CHECKING:
    from pydantic import SecretStr

    from celeriac.settings.platform import Settings


class NotConfigured(Exception):
    """This worker does not know where to send it."""

    def __init__(self, channel: str) -> None:
        super().__init__(channel)

    def __str__(self) -> str:
        return f"this worker's settings have no alerts by {self.args[0]}: give all workers the same settings"


def send(settings: Settings, channel: str, message: Mapping[str, Any], *, id: str, attempt: int) -> None:
    """Send ``message``.

    Raises:
        NotConfigured, NotTaken, Unreachable, NotMailed: again, later.
    """
    if channel not in settings.alert_channels:
        raise NotConfigured(channel)
    if channel == "webhook":
        secret = _text(settings.alert_webhook_secret)
        url = _text(settings.alert_webhook) or ""
        http_post.to_webhook(url, message, secret=secret, id=id, attempt=attempt)
    elif channel == "slack":
        http_post.to_chat(_text(settings.alert_slack) or "", message)
    else:
        sender, receivers = settings.alert_email_from, settings.alert_email
        mail.send(_text(settings.smtp_url) or "", message, sender=sender, receivers=receivers, id=id)


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
