"""Addresses of Redis: parse a URL, and write it for kombu, for the result store and for redbeat.

The three clients read the same URL differently: each ignores or fails on something that the others accept.
So a URL is parsed once, here, and written again for each of them. That of the ledger's database needs less.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import AfterValidator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from celeriac.errors import BadAddress

PLAIN, TLS, SOCKET, SENTINEL = "redis", "rediss", "redis+socket", "sentinel"
SCHEMES = frozenset({PLAIN, TLS, SOCKET, SENTINEL})

#: A result store that there is to be none, as Celery reports it.
DISABLED = "disabled://"
_DISABLED = frozenset({"disabled", *(f"celery.backends.base{dot}DisabledBackend" for dot in ":.")})

#: Between the addresses of a list, as kombu has it.
SEPARATOR = ";"

#: A prefix of keys. No ``*`` or ``?``, which a search for keys and a subscription would read as patterns.
_PREFIX = re.compile(r"[A-Za-z0-9._/:-]{1,99}:")

_DATABASES = frozenset({"postgresql", "sqlite"})  # that can hold the ledger

_PORT, _PORT_OF_SENTINELS = 6379, 26379
_TLS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_DATABASE = ("db", "virtual_host")
_ENCODE = "wanted a URL such as redis://host:6379/0; percent-encode what is no letter or digit in a password"
_CHECKS = {"required", "optional", "none"}

_WANTED = "wanted a redis://, rediss://, redis+socket:// or sentinel:// URL of a Redis or Valkey server"

#: What else Celery knows, by its scheme.
_OTHERS = {
    **dict.fromkeys(("rediscluster", "redis-cluster", "rediss-cluster", "redis+cluster"), "Redis Cluster"),
    **dict.fromkeys(("amqp", "amqps", "pyamqp", "librabbitmq"), "RabbitMQ"),
    **dict.fromkeys(("azureservicebus", "azurestoragequeues"), "Azure"),
    "qpid": "Qpid",
    "sqs": "Amazon SQS",
    "gcpubsub": "Google Pub/Sub",
    "confluentkafka": "Kafka",
    "memory": "the memory of one process",
    "filesystem": "a directory",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One server and one of its databases; or a sentinel, with login and database of the server it knows.

    Attributes:
        host: None where ``path`` is.
        path: of a Unix socket; None for a server on the network.
        tls: the parameters of TLS; with ``rediss`` always also whether the certificate is checked.
    """

    scheme: str
    user: str | None
    password: str | None
    host: str | None
    port: int
    path: str | None
    database: int
    tls: Mapping[str, str]

    @property
    def for_broker(self) -> str:
        """The URL for kombu. It names everything: what is missing, kombu takes from the address before."""
        if self.path is not None:
            return f"{SOCKET}://{self._login}{quote(self.path)}?virtual_host={self.database}"
        return self._url

    @property
    def for_results(self) -> str:
        """The URL for Celery's result store."""
        if self.path is not None:
            return f"socket://{self._login}{quote(self.path)}?virtual_host={self.database}"
        return self._url

    @property
    def for_redbeat(self) -> str:
        """The URL for redbeat, which passes it to redis-py."""
        if self.path is not None:
            return f"unix://{self._login}{quote(self.path)}?db={self.database}"
        if self.scheme == SENTINEL:  # redbeat takes the rest from its options
            return f"redis-sentinel://{self.host}:{self.port}/{self.database}"
        return self._url

    @property
    def _login(self) -> str:
        if self.user is None and self.password is None:
            return ""
        return f"{quote(self.user or '', safe='')}:{quote(self.password or '', safe='')}@"

    @property
    def _url(self) -> str:
        host = f"[{self.host}]" if ":" in str(self.host) else quote(str(self.host), safe="")
        query = f"?{urlencode(self.tls, quote_via=quote)}" if self.tls else ""
        return f"{self.scheme}://{self._login}{host}:{self.port}/{self.database}{query}"


def parse(text: str) -> Address:
    """Parse one address.

    >>> parse("redis://host?db=9").for_broker
    'redis://host:6379/9'

    Raises:
        BadAddress: it is no address, or a client would ignore a part of it. The error has no password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # the error's text may hold a part of the password
        raise BadAddress(f"its host and port cannot be read; {_ENCODE}") from None
    if parts.scheme not in SCHEMES:
        other = f": {_OTHERS[parts.scheme]} cannot be used" if parts.scheme in _OTHERS else ""
        raise BadAddress(f"{_WANTED}, found the scheme {parts.scheme!r}{other}")
    if "@" in parts.path + parts.query or parts.fragment:
        raise BadAddress(f"where its password ends is not clear; {_ENCODE}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    _check_parameters(query, parts.scheme)
    path = unquote(parts.path) if parts.scheme == SOCKET else None
    if path is not None and (parts.hostname or len(path) < 2):
        raise BadAddress("wanted the whole path of a socket, such as redis+socket:///run/valkey.sock")
    return Address(
        scheme=parts.scheme,
        user=_unquoted(parts.username),
        password=_unquoted(parts.password),
        host=None if path else unquote(parts.hostname or "127.0.0.1"),
        port=port or (_PORT_OF_SENTINELS if parts.scheme == SENTINEL else _PORT),
        path=path,
        database=_database(None if path else parts.path.strip("/"), query),
        tls=_tls(query) if parts.scheme == TLS else {},
    )


def parse_list(text: str) -> tuple[Address, ...]:
    """Parse a list of addresses. One is used; the others are for failover.

    Raises:
        BadAddress: one of them is wrong, or they do not fit together.
    """
    found = tuple(parse(each) for each in text.split(SEPARATOR) if each)
    if not found:
        raise BadAddress("wanted a URL such as redis://host:6379/0, found nothing")
    if len(found) > 1 and (any(each.path for each in found) or len({each.scheme for each in found}) > 1):
        raise BadAddress("wanted a list whose addresses are all redis://, all rediss:// or all sentinel://")
    return _of_one_server(found) if found[0].scheme == SENTINEL else found


def parse_store(text: str) -> tuple[Address, ...]:
    """Parse the address of a result store: one, or a list of sentinels.

    Raises:
        BadAddress: it is neither.
    """
    found = parse_list(text)
    if len(found) > 1 and found[0].scheme != SENTINEL:
        raise BadAddress(
            "wanted one address, or a list of sentinels: Celery has no failover list for results"
        )
    return found


def store_url(text: str) -> str:
    """``text``, the address of a result store, written for Celery; ``DISABLED`` in all of Celery's spellings.

    Raises:
        BadAddress: it is none.

    >>> store_url("redis://host"), store_url("disabled")
    ('redis://host:6379/0', 'disabled://')
    """
    if text in _DISABLED or text.partition("://")[0].partition("+")[0] == "disabled":
        return DISABLED
    return for_results(parse_store(text))


def _of_one_server(sentinels: tuple[Address, ...]) -> tuple[Address, ...]:
    """Sentinels that all have the login and the database which one of them names."""
    users = {(each.user, each.password) for each in sentinels} - {(None, None)}
    databases = {each.database for each in sentinels} - {0}
    if len(users) > 1 or len(databases) > 1:
        raise BadAddress("wanted a list of sentinels with one login and one database: they know one server")
    user, password = users.pop() if users else (None, None)
    database = databases.pop() if databases else 0
    return tuple(replace(each, user=user, password=password, database=database) for each in sentinels)


def for_broker(text: str) -> str:
    """``text``, an address or a list of them, written for kombu.

    Raises:
        BadAddress: it is none.
    """
    return SEPARATOR.join(each.for_broker for each in parse_list(text))


def for_results(found: tuple[Address, ...]) -> str:
    """The result store's URL for Celery: the first address of a list, or all sentinels."""
    stores = found if found[0].scheme == SENTINEL else found[:1]
    return SEPARATOR.join(each.for_results for each in stores)


def check_prefix(text: str) -> str:
    """``text``, a prefix of every key in Redis; empty for none.

    >>> check_prefix("shop:")
    'shop:'

    Raises:
        BadAddress: it does not end in ``:``, or has a character that Redis or a client reads as a pattern.
    """
    if text and not _PREFIX.fullmatch(text):
        wanted = "wanted letters, digits and . _ / - : with a : at the end, such as shop:"
        raise BadAddress(f"{wanted}, found {text[:40]!r}")
    return text


Prefix = Annotated[str, AfterValidator(check_prefix)]


def _unquoted(text: str | None) -> str | None:
    return unquote(text) if text else None


def _check_parameters(query: Mapping[str, str], scheme: str) -> None:
    known = (*_DATABASE, *(_TLS if scheme == TLS else ()))
    if unknown := sorted(query.keys() - {*known}):
        hint = "; TLS is asked for with rediss://" if {*unknown} & {*_TLS} else ""
        wanted = f"wanted no other parameters than {', '.join(known)}"
        raise BadAddress(f"{wanted}, found {', '.join(unknown)}{hint}")


def _database(path: str | None, query: Mapping[str, str]) -> int:
    databases = {value.strip("/") for value in (path, *(query.get(name) for name in _DATABASE)) if value}
    if len(databases) > 1:
        raise BadAddress(f"it names several databases: {', '.join(sorted(databases))}")
    number = databases.pop() if databases else "0"
    if not (number.isascii() and number.isdigit()):
        raise BadAddress(f"wanted the number of a database, found {number[:20]!r}")
    return int(number)


def _tls(query: Mapping[str, str]) -> dict[str, str]:
    parameters = {name: query[name] for name in _TLS if query.get(name)}
    check = parameters.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if check not in _CHECKS:
        raise BadAddress(f"ssl_cert_reqs: wanted required, optional or none, found {check[:20]!r}")
    return parameters | {"ssl_cert_reqs": check}


def parse_database(text: str) -> URL:
    """The URL of a database that can hold the ledger, with the driver that is used.

    Raises:
        ValueError: it is none.

    >>> parse_database("postgres://db/shop")
    postgresql+psycopg://db/shop
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError(
            "wanted a database URL such as postgresql://user@host/name or sqlite:///file.db"
        ) from None
    if url.drivername == "postgres":  # the scheme that many platforms still hand out
        url = url.set(drivername="postgresql")
    backend = url.get_backend_name()
    if backend not in _DATABASES:
        raise ValueError(f"wanted postgresql or sqlite, found {backend!r}")
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ValueError(
                "the ledger must survive the process: wanted sqlite:///path/to/file, found a memory database"
            )
        return url
    return url.set(drivername="postgresql+psycopg")
