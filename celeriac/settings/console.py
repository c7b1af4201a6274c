"""The settings of the console; part of ``celeriac.settings.platform.Settings``."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from string import Formatter
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from celeriac.settings.environment import EnvironmentSettings

_KEY = 32  # characters, at least


class ConsoleSettings(EnvironmentSettings):
    console_port: Annotated[int, Field(ge=0, le=65_535)] = 5556
    console_environment: str | None = None  # shown on every page, as production; None: the app's name
    console_users: Path | None = None  # the file with users, their roles and hashes of their passwords
    # addresses or networks of proxies that have checked who is asking
    console_proxies: tuple[str, ...] = ()
    console_proxy_header: str = "X-Forwarded-User"  # in which such a proxy names the user
    console_hosts: tuple[str, ...] = ()  # names under which it may be asked
    console_session: Annotated[float, Field(ge=60, le=2_592_000)] = (
        43_200.0  # seconds until one logs in again
    )
    console_secret: SecretStr | None = None  # signs sessions; unset: a new one at each start

    # to other tools, as logs=https://logs.example.org/?q={id},flower=https://flower.example.org
    console_links: str = ""

    # requests a second of one token of the API; twice as many at once
    console_api_rate: Annotated[float, Field(gt=0, le=100_000)] = 50.0

    @field_validator("console_hosts", "console_proxies", mode="before")
    @classmethod
    def _parts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip().lower() for part in value.split(",") if part.strip())

    @field_validator("console_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            try:
                ip_network(each, strict=False)
            except ValueError:
                raise ValueError(
                    f"wanted addresses or networks, as 10.0.0.7,10.1.0.0/16, found {each!r}"
                ) from None
        return value

    @field_validator("console_links")
    @classmethod
    def _links(cls, value: str) -> str:
        links(value)
        return value

    @field_validator("console_secret")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _KEY:
            raise ValueError(f"wanted at least {_KEY} characters, as of `openssl rand -hex 32`")
        return value


#: What the address of a link may ask for.
PLACES = frozenset({"id", "task", "queue", "worker", "started", "finished"})


def links(text: str) -> dict[str, str]:
    """The address of each link by its name. A comma begins the next one only before a name and ``=``.

    >>> links("logs=https://logs.example.org/?q={id}")
    {'logs': 'https://logs.example.org/?q={id}'}

    Raises:
        ValueError: it says something else.
    """
    found = {}
    for part in filter(None, (part.strip() for part in re.split(r",(?=[\w -]+=https?:)", text))):
        name, _, address = part.partition("=")
        try:
            wanted = {field for _, field, form, _ in Formatter().parse(address) if field is not None}
        except ValueError:
            wanted = {address}
        sound = urlsplit(address.partition("{")[0])
        if not wanted <= PLACES or sound.scheme not in ("http", "https") or not sound.netloc:
            places = ", ".join(f"{{{each}}}" for each in sorted(PLACES))
            raise ValueError(f"wanted name=https://host/…, with any of {places}, found {part[:80]!r}")
        found[name.strip()] = address
    return found
