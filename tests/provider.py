"""A small OpenID Connect provider: it asks nobody, and checks what a client must send."""

from __future__ import annotations

import json
import secrets
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT, SECRET = "console", "of the client"


class Provider:
    """
    Attributes:
        claims: what it says of whoever comes; a test changes it.
        key: signs what it says; a test changes it.
        published: whose public half it shows.
    """

    def __init__(self) -> None:
        self.url = ""
        self.claims: dict[str, Any] = {"sub": "7", "email": "ann@example.org", "groups": ["ops"]}
        self.algorithm = "RS256"
        self.key: Any = RSAKey.generate_key(2048, {"kid": "one"})
        self.published: Any = self.key
        self._asked: dict[str, dict[str, str]] = {}

    def change_key(self) -> None:
        self.key = self.published = RSAKey.generate_key(2048, {"kid": "two"})

    def sign_with_the_secret(self) -> None:
        self.key, self.algorithm = OctKey.import_key(SECRET * 4), "HS256"

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser is sent back to."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"]
        code = secrets.token_urlsafe(8)
        self._asked[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, str]:
        asked = self._asked.pop(form.get("code", ""), None)
        name, _, secret = b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        proof = (
            urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        )
        known = (unquote(name), unquote(secret)) == (CLIENT, SECRET)
        if asked is None or not known or proof != asked["code_challenge"]:
            return {"error": "invalid_grant"}
        now = int(time.time())
        said = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        token = jwt.encode({"alg": self.algorithm, "kid": self.key.kid}, {**said, **self.claims}, self.key)
        return {"access_token": "x", "token_type": "Bearer", "id_token": token}

    def document(self, path: str) -> Any:
        if path.endswith("openid-configuration"):
            named = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            return {"issuer": self.url, **{name: f"{self.url}/{end}" for name, end in named.items()}}
        return {"keys": [self.published.as_dict(private=False)]}


@contextmanager
def provider() -> Iterator[Provider]:
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, made.document(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            found = made.token(form, self.headers.get("authorization", ""))
            self._answer(400 if "error" in found else 200, found)

        def _answer(self, status: int, value: Any) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
