"""The platform's settings, read once, checked whole, as one frozen object.

What Celery itself is told from these is decided in ``celeriac/configuration.py``.
"""

from __future__ import annotations

import difflib
import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from sqlalchemy.engine import URL

from celeriac import addresses, certificates, names, private_files
from celeriac.errors import SettingsError
from celeriac.settings.alerts import AlertSettings
from celeriac.settings.console import ConsoleSettings
from celeriac.settings.environment import PREFIX
from celeriac.settings.flow import FlowSettings
from celeriac.settings.oidc import OidcSettings

_PREFACE = "Value error, "  # of pydantic, before what a validator says
_SIGNING = ("signing_key", "signing_certificate", "signing_cert_store")

#: Variables that name the ledger's database: ours, or else the application's, if the ledger can live there.
_LEDGER = ("CELERIAC_DATABASE_URL", "DATABASE_URL")


def project_root() -> Path:
    """The checkout that holds this package, or the working directory when it is installed."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "setup.cfg").is_file() else Path.cwd()


class Settings(ConsoleSettings, AlertSettings, OidcSettings, FlowSettings):
    """Everything that can be set from outside; field names in upper case are the variables.

    Durations are plain numbers of seconds in the environment.
    """

    broker_url: SecretStr | None = Field(None, validation_alias="CELERY_BROKER_URL")
    result_backend: SecretStr | None = Field(None, validation_alias="CELERY_RESULT_BACKEND")
    database_url: SecretStr | None = Field(None, validation_alias=AliasChoices(*_LEDGER))
    prefix: addresses.Prefix = ""  # of every key in Redis, ends in ":"
    data_dir: Path = Field(default_factory=lambda: project_root() / ".data")

    # what a job is given when neither its call nor its task says otherwise
    max_tries: Annotated[int, Field(ge=1, le=1000)] = 5
    retry_base: Annotated[float, Field(ge=0, le=86_400)] = 60.0  # seconds; delay = base * 2**failed attempts
    retry_max: Annotated[float, Field(ge=0, le=31_536_000)] = 3600.0  # seconds
    retry_jitter: Annotated[float, Field(ge=0, le=1)] = 0.1  # at most this share is added to the delay
    timeout: Annotated[float, Field(gt=0)] | None = None  # seconds a job may run, soft
    hard_limit: Annotated[float, Field(gt=0)] | None = None  # seconds; for jobs with no limit of their own
    timeout_grace: Annotated[float, Field(gt=0)] = 10.0  # seconds from the soft to the hard limit
    payload_limit: Annotated[int, Field(ge=1024, le=512 * 1024 * 1024)] = 1_000_000  # bytes
    result_ttl: Annotated[int, Field(ge=1)] = 86_400  # seconds a result stays in Redis

    # how long rows are kept
    keep_days: Annotated[float, Field(gt=0)] = 7.0  # completed and cancelled jobs
    keep_dead_days: Annotated[float, Field(gt=0)] = 30.0  # dead letters
    keep_results_days: Annotated[float, Field(gt=0)] | None = None  # return values; unset: as their row

    # worker
    task_modules: tuple[str, ...] = ()
    foreign_tasks: tuple[str, ...] = ()  # of other code, as patterns: billing.*
    low_share: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # share of draws that begin with the lowest queue
    adopt_foreign: bool = True  # whether lists to which plain Celery producers send are drawn, too
    prefetch: Annotated[int, Field(ge=1, le=1000)] | None = None  # messages per child; None: it adapts
    async_concurrency: Annotated[int, Field(ge=0, le=10_000)] = 100  # coroutines in a child of -P burst
    heartbeat: Annotated[float, Field(gt=0, le=60)] = 3.0  # seconds
    worker_timeout: Annotated[float, Field(gt=0)] = 12.0  # seconds of silence after which a worker is dead
    code_version: Annotated[str, Field(max_length=64)] | None = None  # of the team's code: a commit, a tag

    # database
    # PostgreSQL: the schema in which the ledger's tables are; None: the first of the role's search_path
    database_schema: str | None = Field(None, validation_alias="CELERIAC_SCHEMA")
    partition: Literal["day"] | None = None  # PostgreSQL: the jobs' table in partitions by day; None: plain
    django_database: str = "default"  # with celeriac.contrib.django: which of its DATABASES has the ledger
    database_pool: Annotated[int, Field(ge=1, le=1000)] = 5  # connections of one process, at most
    prepared_statements: bool = True  # off for a PgBouncer below 1.21 in transaction mode
    schedule_module: str | None = None  # the module with the static schedules; None: none
    misfire_grace: Annotated[float, Field(ge=0, le=3600)] = 30.0  # seconds a due time may be late, not missed
    enqueue_timeout: Annotated[float, Field(ge=0.2, le=60)] = 1.8  # seconds that .delay() may take

    # traces
    otel: bool = False  # whether jobs are traced with OpenTelemetry; the rest is in OTEL_*

    # signed messages: all three or none
    signing_key: Path | None = None  # the private RSA key, in PEM
    signing_certificate: Path | None = None  # its certificate, in PEM
    signing_cert_store: Path | None = None  # a directory of the certificates whose signatures are taken

    # probes
    health_port: Annotated[int, Field(ge=1, le=65_535)] | None = None  # of /live and /ready; unset: none
    health_address: str = "127.0.0.1"  # on which they listen; 0.0.0.0 for an orchestrator's probes
    # names with a dot under which they may be asked, as in an orchestrator's DNS; an address may be always
    health_hosts: tuple[str, ...] = ()

    # front ends
    flower_port: Annotated[int, Field(ge=0, le=65_535)] = 5555
    log_format: str = "text"  # text or json

    @field_validator("health_hosts")
    @classmethod
    def _lower(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name.lower() for name in value)

    @field_validator("task_modules", "foreign_tasks", "health_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("broker_url")
    @classmethod
    def _brokers(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            addresses.parse_list(value.get_secret_value())
        return value

    @field_validator("result_backend")
    @classmethod
    def _result_store(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            addresses.store_url(value.get_secret_value())
        return value

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            addresses.parse_database(value.get_secret_value())
        return value

    @field_validator("database_schema")
    @classmethod
    def _schema(cls, value: str | None) -> str | None:
        return None if value is None else names.check_schema(value)

    @field_validator("log_format")
    @classmethod
    def _log_format(cls, value: str) -> str:
        if value not in ("text", "json"):
            raise ValueError(f"wanted text or json, found {value!r}")
        return value

    @model_validator(mode="after")
    def _together(self) -> Self:
        if found := list(self._contradictions()):
            raise ValueError("\n".join(found))
        return self

    def _contradictions(self) -> Iterator[str]:
        if self.heartbeat * 3 > self.worker_timeout:
            yield (
                "CELERIAC_HEARTBEAT must be at most a third of CELERIAC_WORKER_TIMEOUT, found "
                f"{self.heartbeat:g} and {self.worker_timeout:g} seconds"
            )
        if self.database_schema is not None and self.database.get_backend_name() == "sqlite":
            yield "CELERIAC_SCHEMA is for PostgreSQL; SQLite has no schemas: give each ledger a file"
        if self.by_day and self.database.get_backend_name() == "sqlite":
            yield "CELERIAC_PARTITION is for PostgreSQL; SQLite has no partitions"
        missing = [variable(name) for name in _SIGNING if getattr(self, name) is None]
        if missing and self.signs:
            yield (
                "messages are signed with all of CELERIAC_SIGNING_KEY, CELERIAC_SIGNING_CERTIFICATE and "
                f"CELERIAC_SIGNING_CERT_STORE or with none; missing: {', '.join(missing)}"
            )

    @property
    def signs(self) -> bool:
        """Whether messages are signed, and others refused."""
        return bool(self.signing_key or self.signing_certificate or self.signing_cert_store)

    @property
    def embedded_broker(self) -> bool:
        """Whether the broker is the private Valkey that ``celery -A app up`` starts."""
        return self.broker_url is None

    @property
    def broker(self) -> str:
        """The broker's URL as kombu reads it, with its password; a list of them where several are named."""
        if self.broker_url is not None:
            return addresses.for_broker(self.broker_url.get_secret_value())
        return f"redis://:{self.embedded.password}@127.0.0.1:{self.embedded.port}/0"

    @property
    def brokers(self) -> tuple[addresses.Address, ...]:
        """The broker's addresses: the one that is spoken to first, then those that stand by."""
        return addresses.parse_list(self.broker)

    @property
    def results(self) -> str:
        """The result store's URL, with its password; unless it is set, the (first) broker's server."""
        if self.result_backend is not None:
            return addresses.store_url(self.result_backend.get_secret_value())
        if self.broker_url is not None:
            return addresses.for_results(self.brokers)
        return f"redis://:{self.embedded.password}@127.0.0.1:{self.embedded.port}/1"

    @property
    def keeps_results(self) -> bool:
        """Whether return values are kept, in the result store and in the row."""
        return self.result_backend is None or self.results != addresses.DISABLED

    @property
    def schedules_store(self) -> str:
        """Where redbeat keeps its projection; the first broker's server, another database when it is ours."""
        if self.broker_url is not None:
            return self.brokers[0].for_redbeat
        return f"redis://:{self.embedded.password}@127.0.0.1:{self.embedded.port}/2"

    @property
    def embedded(self) -> EmbeddedAddress:
        """The private Valkey's; where none was ever started, an address at which nobody listens."""
        try:
            return EmbeddedAddress.read(EmbeddedAddress.path(self.data_dir))
        except FileNotFoundError:
            return EmbeddedAddress(1, "none")

    @property
    def database(self) -> URL:
        """The ledger's database; SQLite below the data directory unless it is set."""
        if self.database_url is not None:
            return addresses.parse_database(self.database_url.get_secret_value())
        return URL.create("sqlite", database=str(self.data_dir / "ledger.db"))

    @property
    def ledger(self) -> dict[str, Any]:
        """Where the ledger is, by the names of those who connect: ``url``, and ``schema`` in it."""
        return {"url": self.database, "schema": self.database_schema}

    @property
    def by_day(self) -> bool:
        """Whether a new ledger is divided by days."""
        return self.partition == "day"

    @property
    def retry_cap(self) -> timedelta:
        return timedelta(seconds=self.retry_max)


class EmbeddedAddress:
    """Port and password of the private Valkey, kept in a file that only its owner may read.

    Chosen once, when it is first started (``at``); all others read it.
    """

    def __init__(self, port: int, password: str) -> None:
        self.port = port
        self.password = password

    @classmethod
    def path(cls, data_dir: Path) -> Path:
        return data_dir / "valkey.json"

    @classmethod
    def at(cls, data_dir: Path) -> EmbeddedAddress:
        path = cls.path(data_dir)
        try:
            return cls.read(path)
        except FileNotFoundError:
            cls(free_port(), secrets.token_urlsafe(24)).write(path)
        return cls.read(path)  # another process may have been first

    @classmethod
    def read(cls, path: Path) -> EmbeddedAddress:
        try:
            found = json.loads(path.read_text())
            return cls(int(found["port"]), str(found["password"]))
        except (ValueError, KeyError, TypeError) as exc:
            raise SettingsError([f"{path} is damaged ({exc}); delete it, a new one is made"]) from exc

    def write(self, path: Path, *, replace: bool = False) -> None:
        """Write the file whole or not at all; an existing one stays unless ``replace``."""
        private_files.make_directory(path.parent)  # payloads are not for other users
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps({"port": self.port, "password": self.password}))
        if replace:
            draft.replace(path)
            return
        try:
            path.hardlink_to(draft)  # unlike a rename, fails when another process was first
        except FileExistsError:
            pass
        finally:
            draft.unlink()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on at this moment.

    Below the range for outgoing connections: a client that keeps trying while the server is down may be
    given a port from there as its own, and so keep the server from coming back.
    """
    while True:
        port = 15_000 + secrets.randbelow(17_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def read_settings(given: Mapping[str, Any] | None = None) -> Settings:
    """The settings from the environment.

    Args:
        given: fields that are not asked of the environment.

    Raises:
        SettingsError: with every problem at once.
    """
    given = given or {}
    problems = _unknown(os.environ)
    try:
        settings = Settings(**given)
    except ValidationError as exc:
        raise SettingsError([*problems, *_all_of(exc, given)]) from None
    if problems or (settings.signs and (problems := certificates.problems(settings))):
        raise SettingsError(problems)
    return settings


def _all_of(error: ValidationError, given: Mapping[str, Any]) -> list[str]:
    """Its problems, and those that pydantic does not look for while a field is wrong."""
    found = [(tuple(each["loc"]), str(each["msg"])) for each in error.errors()]
    bad = {_field(location) for location, _ in found if location}
    lines = [(location, line) for location, text in found for line in text.removeprefix(_PREFACE).split("\n")]
    problems = [_problem(location, line) for location, line in lines]
    if bad:
        default = {name: Settings.model_fields[name].get_default(call_default_factory=True) for name in bad}
        problems += _problems_beside(default, given)
    return problems


def _problems_beside(replaced: dict[str, Any], given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the others, once the values of some fields are set aside."""
    aside = [variable(name) for name in replaced]
    try:
        settings = Settings(**{**given, **replaced})
    except ValidationError as exc:
        lines = [line for each in exc.errors() for line in each["msg"].removeprefix(_PREFACE).split("\n")]
        return [line for line in lines if not any(each in line for each in aside)]
    return certificates.problems(settings) if settings.signs else []


def _unknown(environment: Mapping[str, str]) -> list[str]:
    known = [variable(name) for name in Settings.model_fields]
    names = sorted(name for name in environment if name.upper().startswith(PREFIX))
    return [_unknown_name(name, known) for name in names if name.upper() not in known]


def _unknown_name(name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name.upper(), known, n=1)
    return f"{name}: there is no such setting{f'; did you mean {nearest[0]}?' if nearest else ''}"


def variable(field: str) -> str:
    """The environment's variable for a field."""
    return Settings.variables(field)[0]


def _field(location: tuple[int | str, ...]) -> str:
    """The field that pydantic's location is about: its name, or its variable's."""
    said = str(location[0]).upper()
    return next(name for name in Settings.model_fields if said in (name.upper(), variable(name)))


def _problem(location: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix(_PREFACE)
    if not location:
        return text
    field = _field(location)
    if field == "database_url" and _of_the_application():
        return f"DATABASE_URL: {text}; or name the ledger's own database with CELERIAC_DATABASE_URL"
    return f"{'.'.join([variable(field), *map(str, location[1:])])}: {text}"


def _of_the_application() -> bool:
    """Whether the ledger's database is looked for in the application's variable."""
    ours, applications = _LEDGER
    return bool(os.environ.get(applications)) and not os.environ.get(ours)
