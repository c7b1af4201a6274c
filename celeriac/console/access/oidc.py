"""A login at another service: the code flow of OpenID Connect, with PKCE. Needs the extra ``oidc``."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from celeriac.console.access.roles import Role
from celeriac.errors import SettingsError
from celeriac.names import NAME_LENGTH
from celeriac.settings.oidc import roles_of

if TYPE_CHECKING:
    from celeriac.settings.platform import Settings

#: Where the service sends people back to, below the console's address.
CALLBACK = "/oidc/callback"

_TIMEOUT = 5.0  # seconds of each request to the service
_KEPT = 3600.0  # seconds for which what it says of itself and its keys is kept
_LEEWAY = 60  # seconds by which clocks may differ
#: Signatures with a key of the service's own; never one with the shared secret, or none.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class LoginRefused(Exception):
    """The service or the console does not let somebody in."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    role: Role


class Oidc:
    """
    Raises:
        SettingsError: the extra is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        if find_spec("authlib") is None:
            raise SettingsError(["CELERIAC_OIDC_ISSUER: run `pip install 'celeriac[oidc]'`"])
        self.issuer = str(settings.oidc_issuer)
        self._settings = settings
        self._roles = roles_of(settings.oidc_roles)
        self._back = f"{str(settings.console_url).rstrip('/')}{CALLBACK}"
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Any]] = {}

    def begin(self) -> tuple[str, dict[str, str]]:
        """The address at the service, and what must be remembered until they come back.

        Raises:
            LoginRefused: the service does not answer.
        """
        kept = {"state": secrets.token_urlsafe(24), "nonce": secrets.token_urlsafe(24)}
        kept["verifier"] = secrets.token_urlsafe(48)
        with self._client() as client:
            address, _ = client.create_authorization_url(
                self._service()["authorization_endpoint"],
                state=kept["state"],
                nonce=kept["nonce"],
                code_verifier=kept["verifier"],
            )
        return str(address), kept

    def finish(self, query: Mapping[str, str], kept: Mapping[str, str]) -> Person:
        """Who came back.

        Raises:
            LoginRefused: it is nobody who may use the console, or not the answer to what was asked.
        """
        if not secrets.compare_digest(query.get("state", "").encode(), kept["state"].encode()):
            raise LoginRefused("this is not the answer to your login: log in again")
        if "code" not in query:
            raise LoginRefused(f"the login was refused: {query.get('error', 'no code')[:80]}")
        return self._person(self._claims(self._token(query["code"], kept["verifier"]), kept["nonce"]))

    def _token(self, code: str, verifier: str) -> str:
        import httpx2
        from authlib.common.errors import AuthlibBaseError

        try:
            with self._client() as client:
                found = client.fetch_token(
                    self._service()["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier,
                )
        except AuthlibBaseError as exc:
            raise LoginRefused(f"the login was refused: {exc.error}") from None
        except (httpx2.HTTPError, ValueError) as exc:
            raise LoginRefused(f"{self.issuer} gave no answer: {type(exc).__name__}") from None
        return str(found.get("id_token", ""))

    def _claims(self, token: str, nonce: str) -> Mapping[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError

        wanted = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": str(self._settings.oidc_client_id)},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        for fresh in (False, True):  # once more with new keys: the service may have changed them
            try:
                found = jwt.decode(token, self._keys(fresh=fresh), algorithms=list(_ALGORITHMS))
                wanted.validate(found.claims)
            except (JoseError, ValueError):
                continue
            return dict(found.claims)
        raise LoginRefused(f"what {self.issuer} says of you cannot be believed: log in again")

    def _person(self, claims: Mapping[str, Any]) -> Person:
        given = claims.get(self._settings.oidc_claim)
        values = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        found = [Role(self._roles[each]) for each in ("*", *map(str, values)) if each in self._roles]
        named = claims.get(self._settings.oidc_name)
        name = (named if isinstance(named, str) and named else str(claims["sub"]))[:NAME_LENGTH]
        if self._settings.oidc_name == "email" and claims.get("email_verified") is False:
            name = str(claims["sub"])[:NAME_LENGTH]
        if not found:
            claim = self._settings.oidc_claim
            raise LoginRefused(f"{name} has no {claim} that CELERIAC_OIDC_ROLES gives a role: ask an admin")
        return Person(name, max(found, key=list(Role).index))

    def _client(self) -> Any:
        from authlib.integrations.httpx_client import OAuth2Client

        secret = self._settings.oidc_client_secret
        return OAuth2Client(
            client_id=self._settings.oidc_client_id,
            client_secret=secret.get_secret_value() if secret else None,
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            scope="openid email profile",
            redirect_uri=self._back,
            code_challenge_method="S256",
            timeout=_TIMEOUT,
        )

    def _service(self) -> Mapping[str, Any]:
        """What the service says of itself."""
        found: Mapping[str, Any] = self._read(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if (named := found.get("issuer")) != self.issuer:
            raise LoginRefused(f"the service names itself {named!r:.80}, and not as CELERIAC_OIDC_ISSUER")
        return found

    def _keys(self, *, fresh: bool) -> Any:
        from joserfc.jwk import KeySet

        return KeySet.import_key_set(self._read(self._service()["jwks_uri"], fresh=fresh))

    def _read(self, url: str, *, fresh: bool = False) -> Any:
        import httpx2

        with self._lock:
            until, known = self._known.get(url, (0.0, None))
        if until > time.monotonic() and not fresh:
            return known
        try:
            answer = httpx2.get(url, timeout=_TIMEOUT)
            answer.raise_for_status()
            found = answer.json()
        except (httpx2.HTTPError, ValueError) as exc:
            raise LoginRefused(f"{self.issuer} gave no answer: {type(exc).__name__}") from None
        with self._lock:
            self._known[url] = (time.monotonic() + _KEPT, found)
        return found
