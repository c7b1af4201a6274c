"""Serve the console, and make a line of its file of users."""

from __future__ import annotations

import socket
import sys
from ipaddress import ip_address

import click

from celeriac.application import Celeriac
from celeriac.cli import output
from celeriac.errors import BadArgument, SettingsError
from celeriac.settings.platform import Settings
from celeriac.stack import console_address


def serve(app: Celeriac, *, named: str, address: str, port: int | None) -> None:
    try:
        import uvicorn

        from celeriac.console import create
        from celeriac.console.access.one_time_token import OneTimeToken
    except ModuleNotFoundError:
        raise click.ClickException(
            "the console is not installed: run `pip install 'celeriac[console]'`"
        ) from None
    settings = app.settings
    known = bool(settings.console_users or settings.console_proxies or settings.oidc_issuer)
    if not known and not _is_loopback(address):
        raise SettingsError(
            [
                f"the console would listen on {address} for anybody: name users in CELERIAC_CONSOLE_USERS "
                "(`celery -A app console user NAME` makes a line), or a proxy in CELERIAC_CONSOLE_PROXIES, "
                "or a service at which they log in in CELERIAC_OIDC_ISSUER"
            ]
        )
    listening = _listen(address, settings.console_port if port is None else port)
    home = f"http://{_host(address)}:{listening.getsockname()[1]}/"
    token = None if known else OneTimeToken(lambda new: _tell(settings, f"{home}?token={new}", again=True))
    made = create(app, named=named, token=token)
    _tell(settings, home if token is None else f"{home}?token={token.value}")
    config = uvicorn.Config(
        made,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is the peer: a header could be anybody's
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=65_536,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listening])


def show_line(name: str, role: str, *, from_stdin: bool, as_json: bool) -> None:
    from celeriac.console.access import users
    from celeriac.console.access.roles import Role

    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    try:
        line = users.line(name, Role(role), password)
    except ValueError as exc:
        raise BadArgument("user", str(exc)) from None
    if as_json:
        output.emit("console user", name=name, role=role, line=line)
    else:
        click.echo(line)


def _tell(settings: Settings, url: str, *, again: bool = False) -> None:
    console_address.write(settings.data_dir, url)
    click.echo(f"console: {url}" + (" (for another browser)" if again else ""))
    sys.stdout.flush()


def _listen(address: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen()  # who opens the printed address at once waits, and is not refused
    except OSError as exc:
        raise click.ClickException(
            f"the console cannot listen on {address}:{port}: {exc.strerror}; see --port"
        ) from None
    return listening


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
