"""The settings of the console; part of ``celeriac.settings.platform.Settings``."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

_KEY = 32  # characters, at least


class ConsoleSettings(BaseSettings):
    console_port: Annotated[int, Field(ge=0, le=65_535)] = 5556
    console_environment: str | None = None  # shown on every page, as production; None: the app's name
    console_users: Path | None = None  # the file with users, their roles and hashes of their passwords
    # addresses or networks of proxies that have checked who is asking
    console_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    console_proxy_header: str = "X-Forwarded-User"  # in which such a proxy names the user
    console_hosts: Annotated[tuple[str, ...], NoDecode] = ()  # names under which it may be asked
    console_session: Annotated[float, Field(ge=60, le=2_592_000)] = (
        43_200.0  # seconds until one logs in again
    )
    console_secret: SecretStr | None = None  # signs sessions; unset: a new one at each start

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

    @field_validator("console_secret")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _KEY:
            raise ValueError(f"wanted at least {_KEY} characters, as of `openssl rand -hex 32`")
        return value
