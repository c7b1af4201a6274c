"""Mail an alert through an SMTP server."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from celeriac.notify.message import lines, title

_TIMEOUT = 10.0  # seconds of each step; the job's time limit bounds them all
_PORTS = {"smtp": 25, "smtps": 465}


class NotMailed(Exception):
    """The server did not take it. What it said may name addresses, never the password."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(host, reason)

    def __str__(self) -> str:
        return f"{self.args[0]} did not take the mail: {self.args[1]}"


def send(server: str, message: Mapping[str, Any], *, sender: str, receivers: Sequence[str], id: str) -> None:
    """Send the message.

    Args:
        server: its URL. With ``smtp`` it is encrypted when the server can; a password is sent only then.
        id: the same in every attempt, so that a mail that comes twice can be known.

    Raises:
        NotMailed: again, later.
    """
    url = urlsplit(server)
    try:
        with _connected(url) as connection:
            connection.send_message(_mail(message, sender, receivers, id))
    except (OSError, smtplib.SMTPException) as exc:  # SMTPException is an OSError, by the way of IOError
        raise NotMailed(str(url.hostname), _reason(exc)) from None


def _mail(message: Mapping[str, Any], sender: str, receivers: Sequence[str], id: str) -> EmailMessage:
    made = EmailMessage()
    made["Subject"] = title(message)
    made["From"] = sender
    made["To"] = ", ".join(receivers)
    made["Date"] = formatdate()
    made["Message-ID"] = f"<{id}@{sender.rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"  # no answer of an absent person comes back
    made.set_content("\n\n".join(lines(message)) + "\n")
    return made


def _connected(url: SplitResult) -> smtplib.SMTP:
    host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    context = ssl.create_default_context()
    if url.scheme == "smtps":
        made: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT, context=context)
    else:
        made = smtplib.SMTP(host, port, timeout=_TIMEOUT)
    try:
        made.ehlo()
        encrypted = url.scheme == "smtps" or made.has_extn("starttls")
        if url.scheme == "smtp" and encrypted:
            made.starttls(context=context)
            made.ehlo()
        if url.username:
            if not encrypted:
                raise NotMailed(host, "it offers no encryption, so the password was not sent")
            made.login(unquote(url.username), unquote(url.password or ""))
    except BaseException:  # whatever ended it, the connection must not stay open
        made.close()
        raise
    return made


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "it refused the name and password of CELERIAC_SMTP_URL"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"it answered {error.smtp_code}"
    return getattr(error, "strerror", None) or type(error).__name__
