"""Real servers that take what is sent to them: HTTP and mail."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from celeriac.settings.platform import free_port


@dataclass
class Request:
    """One request, as the receiver saw it."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Endpoint:
    """A receiver that says ``status`` to everything."""

    status: int = 200
    seen: list[Request] = field(default_factory=list)
    url: str = ""


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    told = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.seen.append(Request(self.path, headers, body))
            self.send_response(told.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield told
        server.shutdown()
        thread.join()


@dataclass
class MailBox:
    """What an SMTP server was given."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    passwords: list[bytes] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  aiosmtpd's
        found: Any = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append(found)
        return "250 taken"


@contextmanager
def mail_box(*, tls: ssl.SSLContext | None = None) -> Iterator[MailBox]:
    """An SMTP server; with STARTTLS where there is a context."""
    box = MailBox(port=free_port())  # it connects to the port that it was given, to see that it listens

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        box.passwords.append(data.password)
        return AuthResult(success=data.password == b"right horse", handled=False)

    server = Controller(
        box,
        hostname="127.0.0.1",
        port=box.port,
        tls_context=tls,
        authenticator=authenticate,
        auth_require_tls=False,
    )
    server.start()
    yield box
    server.stop()
