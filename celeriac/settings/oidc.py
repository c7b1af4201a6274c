"""The settings of a login at another service, by OpenID Connect; part of ``ConsoleSettings``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator

from celeriac.settings.environment import EnvironmentSettings

_ROLES = ("viewer", "operator", "admin")


class OidcSettings(EnvironmentSettings):
    oidc_issuer: str | None = None  # the service at which people log in: https://login.example.org
    oidc_client_id: str | None = None  # of the console there
    oidc_client_secret: SecretStr | None = None  # of the console there; unset: it is a public client
    oidc_claim: str = "groups"  # what of a person decides on the role
    oidc_roles: str = ""  # the role of each value of it: ops=operator,leads=admin; * is everybody
    oidc_name: str = "email"  # the claim with the person's name, which actions are recorded with

    @field_validator("oidc_issuer")
    @classmethod
    def _service(cls, value: str | None) -> str | None:
        found = urlsplit(value or "")
        loopback = found.hostname in ("127.0.0.1", "localhost", "::1")
        if value is not None and not (found.scheme == "https" or (found.scheme == "http" and loopback)):
            raise ValueError(f"wanted https://host, found {value[:80]!r}")
        return value

    @field_validator("oidc_roles")
    @classmethod
    def _known_roles(cls, value: str) -> str:
        roles_of(value)
        return value

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        if self.oidc_issuer is None:
            return self
        needed = {"CELERIAC_OIDC_CLIENT_ID": self.oidc_client_id, "CELERIAC_OIDC_ROLES": self.oidc_roles}
        needed["CELERIAC_CONSOLE_URL"] = getattr(self, "console_url", None)  # where they come back to
        if missing := [name for name, value in needed.items() if not value]:
            raise ValueError(f"CELERIAC_OIDC_ISSUER needs {' and '.join(missing)}")
        return self


def roles_of(text: str) -> Mapping[str, str]:
    """Roles by the value of the claim.

    >>> roles_of("ops=operator, *=viewer")
    {'ops': 'operator', '*': 'viewer'}

    Raises:
        ValueError: it says something else.
    """
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        value, _, role = part.rpartition("=")
        if not value.strip() or role.strip() not in _ROLES:
            raise ValueError(f"wanted value=role, with a role of {', '.join(_ROLES)}, found {part[:80]!r}")
        found[value.strip()] = role.strip()
    return found
