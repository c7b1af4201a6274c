"""What a console was asked to be: who may use it, under which names, for how long."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from celeriac.console.access.oidc import Oidc
from celeriac.console.access.one_time_token import OneTimeToken
from celeriac.console.access.users import UserFile
from celeriac.errors import SettingsError

if TYPE_CHECKING:
    from celeriac.application import Celeriac


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    environment: str  # shown on every page
    named: str  # what ``celery -A`` is given in the commands that pages show
    hosts: frozenset[str]  # names with a dot under which it may be asked
    users: UserFile | None
    oidc: Oidc | None  # another service at which people log in
    proxies: Sequence[str]  # addresses and networks
    proxy_header: str
    token: OneTimeToken | None  # of the printed URL
    key: bytes  # signs sessions
    session: float  # seconds
    api_rate: float  # requests a second of one token

    def trusts(self, address: str) -> bool:
        """Whether a proxy at this address is believed who the user is."""
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in ip_network(each, strict=False) for each in self.proxies)


def read(app: Celeriac, *, named: str = "app", token: OneTimeToken | None = None) -> Options:
    """The options from the app's settings.

    Raises:
        SettingsError: nobody could log in.
    """
    settings = app.settings
    users = UserFile(settings.console_users) if settings.console_users else None
    known = users is not None or settings.console_proxies or settings.oidc_issuer
    if not known and token is None:
        raise SettingsError(
            [
                "the console needs to know who may use it: name a file of users in CELERIAC_CONSOLE_USERS "
                "(`celery -A app console user NAME` makes a line of it), or a proxy that has checked who is "
                "asking in CELERIAC_CONSOLE_PROXIES, or a service at which people log in in "
                "CELERIAC_OIDC_ISSUER"
            ]
        )
    secret = settings.console_secret
    return Options(
        environment=settings.console_environment or app.main or "celeriac",
        named=named,
        hosts=frozenset(settings.console_hosts),
        users=users,
        oidc=Oidc(settings) if settings.oidc_issuer else None,
        proxies=settings.console_proxies,
        proxy_header=settings.console_proxy_header.lower(),
        token=token,
        key=secret.get_secret_value().encode() if secret else secrets.token_bytes(32),
        session=settings.console_session,
        api_rate=settings.console_api_rate,
    )
