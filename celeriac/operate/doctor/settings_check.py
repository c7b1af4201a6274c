"""Settings that are valid each, but contradict each other or are risky together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from celeriac import addresses, certificates
from celeriac.operate.doctor.finding import Area, Finding, fail, ok, warn
from celeriac.settings.platform import Settings

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_LOCAL = frozenset({None, "", "localhost", "127.0.0.1", "::1"})
_TAKEOVER = 10.0  # seconds that a beat may need to stand in for another
_LARGE = 10_000_000  # bytes of one message
_RENEWAL = timedelta(days=30)  # before a certificate expires


def read(app: Celeriac) -> Settings:
    return app.settings


def refused_tasks(app: Celeriac) -> list[Finding]:
    """A finding for each task whose declaration cannot be obeyed."""
    tasks = [task for task in app.tasks.values() if task.judge() or task.refused]
    return [
        fail(
            Area.SETTINGS,
            "task",
            f"jobs of {task.name} are refused: {task.refused}",
            remedy="change how it is declared",
        )
        for task in tasks
    ]


def judge(settings: Settings) -> list[Finding]:
    """A warning for each contradiction; one finding that all is well when there is none."""
    found = [finding for check in _CHECKS for finding in check(settings)]
    return found or [ok(Area.SETTINGS, "pairs", "no two settings contradict each other")]


def _retries(settings: Settings) -> Iterator[Finding]:
    if settings.retry_base > settings.retry_max:
        yield _warning(
            "retries",
            f"CELERIAC_RETRY_BASE {settings.retry_base:g} is more than CELERIAC_RETRY_MAX "
            f"{settings.retry_max:g}: every retry waits for {settings.retry_max:g} s",
            "raise CELERIAC_RETRY_MAX",
        )


def _limits(settings: Settings) -> Iterator[Finding]:
    if settings.hard_limit is None:
        yield _warning(
            "time limit",
            "no hard limit is set: a job that hangs holds its child for ever",
            "set task_time_limit or CELERIAC_HARD_LIMIT, to more than the longest job takes",
        )
    elif settings.timeout is not None and settings.timeout > settings.hard_limit:
        yield _warning(
            "time limit",
            f"CELERIAC_TIMEOUT {settings.timeout:g} is more than CELERIAC_HARD_LIMIT "
            f"{settings.hard_limit:g}, which holds only for jobs without a limit of their own",
            "set CELERIAC_TIMEOUT below it, or raise it",
        )


def _retention(settings: Settings) -> Iterator[Finding]:
    if settings.keep_dead_days < settings.keep_days:
        yield _warning(
            "retention",
            f"dead letters go after {settings.keep_dead_days:g} days, completed jobs only after "
            f"{settings.keep_days:g}",
            "raise CELERIAC_KEEP_DEAD_DAYS",
        )
    if settings.keep_results_days is not None and settings.keep_results_days > settings.keep_days:
        yield _warning(
            "retention",
            f"CELERIAC_KEEP_RESULTS_DAYS {settings.keep_results_days:g} is more than CELERIAC_KEEP_DAYS "
            f"{settings.keep_days:g}: a result goes with its row",
            "raise CELERIAC_KEEP_DAYS",
        )


def _pools(settings: Settings) -> Iterator[Finding]:
    if settings.database_pool < 2:
        yield _warning(
            "database pool",
            "CELERIAC_DATABASE_POOL is 1: a worker's ledger thread and keeper wait for each other",
            "set it to 2 or more",
        )


def _takeover(settings: Settings) -> Iterator[Finding]:
    if settings.misfire_grace < _TAKEOVER:
        yield _warning(
            "misfire grace",
            f"CELERIAC_MISFIRE_GRACE {settings.misfire_grace:g} is shorter than a beat's takeover: due times "
            "of that moment count as missed",
            f"set it to {_TAKEOVER:g} or more",
        )


def _size(settings: Settings) -> Iterator[Finding]:
    if settings.payload_limit > _LARGE:
        yield _warning(
            "payload limit",
            f"CELERIAC_PAYLOAD_LIMIT lets messages of {settings.payload_limit:,} bytes into Redis",
            "send references to data instead of data",
        )


def _reach(settings: Settings) -> Iterator[Finding]:
    """Whether the parts can be reached from the same machines."""
    sqlite = settings.database.get_backend_name() == "sqlite"
    if sqlite and any(broker.host not in _LOCAL for broker in settings.brokers):
        yield _warning(
            "reach",
            "the ledger is a SQLite file of this machine, the broker is on another: workers of other "
            "machines cannot share the ledger",
            "set DATABASE_URL to a PostgreSQL database",
        )
    if settings.embedded_broker and not sqlite and settings.database.host not in _LOCAL:
        yield _warning(
            "reach",
            "the ledger is on another machine, the broker is the private Valkey of this one: workers of "
            "other machines do not hear of jobs",
            "set CELERY_BROKER_URL",
        )


def _passwords(settings: Settings) -> Iterator[Finding]:
    stores = [settings.result_backend] if settings.result_backend and settings.keeps_results else []
    places = [("CELERY_BROKER_URL", broker) for broker in settings.brokers]
    for store in stores:
        places += [
            ("CELERY_RESULT_BACKEND", each) for each in addresses.parse_store(store.get_secret_value())
        ]
    for variable, place in places:
        if place.host not in _LOCAL and not place.password:
            yield _warning(
                "password", f"the Redis of {variable} is on another machine, without a password", _SECURE
            )
            return


def _certificate(settings: Settings) -> Iterator[Finding]:
    if settings.signing_certificate is None:
        return
    ends = certificates.expiry(settings.signing_certificate)
    if ends - datetime.now(UTC) < _RENEWAL:
        yield _warning(
            "certificate",
            f"the certificate that messages are signed with expires on {ends:%Y-%m-%d}: what it signed and "
            "has not run by then becomes a dead letter",
            "put a new one into every CELERIAC_SIGNING_CERT_STORE, then sign with it; see docs/operations.md",
        )


def _warning(check: str, sentence: str, remedy: str) -> Finding:
    return warn(Area.SETTINGS, check, sentence, remedy=remedy)


_SECURE = "set requirepass or an ACL there, and put it into the URL; see docs/operations.md"
_CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _retries,
    _limits,
    _retention,
    _pools,
    _takeover,
    _size,
    _reach,
    _passwords,
    _certificate,
)
