"""The header Idempotency-Key: a request that comes again is not done again, and is answered as before."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from fastapi import Request, Response
from sqlalchemy import Connection

from celeriac.application import Celeriac
from celeriac.console.access.visitor import Visitor
from celeriac.console.api.problems import problem
from celeriac.display import safe
from celeriac.ids import new_uuid
from celeriac.ledger.operators import requests as ledger
from celeriac.names import NAME_LENGTH

_HEADER = "idempotency-key"
_OWN = "/jobs"  # whose key is the job's, and holds as long as the job is there


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request with a key.

    Attributes:
        key: of who asks, for what: two programs may have the same key.
        digest: of what was sent with it.
    """

    key: str
    digest: str
    who: str
    subject: str

    @classmethod
    def of(cls, request: Request, who: Visitor, body: bytes) -> Repeatable | None:
        """The request, if it has a key."""
        given = request.headers.get(_HEADER)
        path = request.url.path.partition("/api/v1")[2] or request.url.path
        if given is None or request.method != "POST" or path == _OWN:
            return None
        key = sha256("\0".join((who.name, path, given)).encode()).hexdigest()
        digest = sha256(request.url.query.encode() + b"\0" + body).hexdigest()
        return cls(key, digest, who.name[:NAME_LENGTH], safe(f"POST {path}", length=NAME_LENGTH))

    def begin(self, app: Celeriac) -> Response | None:
        """Write that it begins; or the answer, if it has begun before."""

        def begun(connection: Connection) -> bool:
            values = {"who": self.who, "subject": self.subject, "digest": self.digest}
            return ledger.begin(connection, self.key, id=new_uuid(), **values)

        if app.database.again(begun):
            return None
        with app.database.reading() as connection:
            found = ledger.find(connection, self.key)
        if found is None or "status" not in found:
            sentence = "a request with this key has begun and has not ended: see what became of it first"
            return problem(409, "it cannot be done now", sentence, field="Idempotency-Key")
        if found["digest"] != self.digest:
            sentence = "this key was sent with another request: give each request a key of its own"
            return problem(422, "this request is not valid", sentence, field="Idempotency-Key")
        return Response(found["answer"], found["status"], media_type="application/json")

    def end(self, app: Celeriac, answer: Response | None) -> None:
        """Keep the answer; one that refused is forgotten."""

        def ended(connection: Connection) -> None:
            if answer is None or answer.status_code >= 400:
                ledger.forget(connection, self.key)
                return
            text = bytes(answer.body).decode()
            kept = {"digest": self.digest, "status": answer.status_code, "answer": text}
            ledger.keep(connection, self.key, kept)

        app.database.again(ended)
