"""The settings of alerts; part of ``celeriac.settings.platform.Settings``. Until one is set, none is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr, field_validator, model_validator

from celeriac.settings.environment import EnvironmentSettings

_ADDRESS = re.compile(r"[^@\s,<>\"]{1,64}@[^@\s,<>\"]{1,255}")
_LONGEST = 31_536_000  # seconds of a queue's limit


class AlertSettings(EnvironmentSettings):
    alert_webhook: SecretStr | None = None  # the URL that alerts are posted to
    alert_webhook_secret: SecretStr | None = None  # signs them; unset: they are not signed
    alert_slack: SecretStr | None = None  # the URL of an incoming webhook of Slack, or of what takes the same
    alert_email: tuple[str, ...] = ()  # to whom alerts are mailed
    alert_email_from: str = "celeriac@localhost"  # from whom
    smtp_url: SecretStr | None = None  # as smtp://user:password@host:587, or smtps://host
    # seconds that the oldest due job of a queue may wait: of every queue, then of single ones
    alert_queue_age: str = "600"
    console_url: str | None = None  # the address of the console for people, which alerts link to

    @field_validator("alert_webhook", "alert_slack")
    @classmethod
    def _receiver(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _web_address(value.get_secret_value())
        return value

    @field_validator("console_url")
    @classmethod
    def _console(cls, value: str | None) -> str | None:
        if value is not None:
            _web_address(value)
        return value

    @field_validator("alert_email", mode="before")
    @classmethod
    def _split_addresses(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("alert_email")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            _mail_address(each)
        return value

    @field_validator("alert_email_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        return _mail_address(value)

    @field_validator("smtp_url")
    @classmethod
    def _mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _address(
                value.get_secret_value(), ("smtp", "smtps"), "smtp://user:password@host:587 or smtps://host"
            )
        return value

    @field_validator("alert_queue_age", mode="before")
    @classmethod
    def _ages(cls, value: object) -> object:
        text = f"{value:g}" if isinstance(value, int | float) else value
        if isinstance(text, str):
            queue_ages(text)
        return text

    @model_validator(mode="after")
    def _mail_is_whole(self) -> Self:
        if self.alert_email and self.smtp_url is None:
            raise ValueError("CELERIAC_ALERT_EMAIL needs CELERIAC_SMTP_URL, the server that sends the mail")
        if self.alert_webhook_secret is not None and self.alert_webhook is None:
            raise ValueError(
                "CELERIAC_ALERT_WEBHOOK_SECRET signs what goes to CELERIAC_ALERT_WEBHOOK: set both"
            )
        return self

    @property
    def alert_channels(self) -> tuple[str, ...]:
        """The ways in which alerts are told; empty: they are not."""
        ways = {"webhook": self.alert_webhook, "slack": self.alert_slack, "email": self.alert_email}
        return tuple(name for name, given in ways.items() if given)


def queue_ages(text: str) -> Mapping[str, float]:
    """Limits in seconds by queue; that of the empty name is of all others.

    >>> queue_ages("600,low=7200")
    {'': 600.0, 'low': 7200.0}

    Raises:
        ValueError: it says something else.
    """
    found = {"": 600.0}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.rpartition("=")
        try:
            seconds = float(number)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= _LONGEST:
            raise ValueError(
                f"wanted seconds, and others of single queues, as 600,low=7200, found {part[:80]!r}"
            )
        found[name.strip()] = seconds
    return found


def _web_address(text: str) -> SplitResult:
    return _address(text, ("http", "https"), "https://host/…")


def _address(text: str, schemes: tuple[str, ...], wanted: str) -> SplitResult:
    """The parts of a URL. What was found is not told: it may hold a secret."""
    try:
        found = urlsplit(text)
        sound = found.scheme in schemes and bool(found.hostname) and found.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isascii() or re.search(r"[\x00-\x20\x7f]", text):
        raise ValueError(f"wanted {wanted}")
    return found


def _mail_address(text: str) -> str:
    if not _ADDRESS.fullmatch(text) or not text.isprintable():
        raise ValueError(f"wanted addresses of mail, as ops@example.org, found {text[:80]!r}")
    return text
