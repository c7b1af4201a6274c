"""The entry points of our commands: stand-ins that import nothing until they are called.

Celery imports the commands of every installed distribution, for every app and every command. A stand-in
checks the app when it is called. For a Celeriac app it runs the real command; for any other app it fails
with one sentence.
"""

from __future__ import annotations

import atexit
import gc
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import click

__all__ = [
    "alerts",
    "audit",
    "console",
    "db",
    "dead_letters",
    "doctor",
    "flower",
    "health",
    "jobs",
    "limits",
    "metrics",
    "queues",
    "schedules",
    "stats",
    "tasks",
    "tokens",
    "up",
    "workers",
]


#: Commands that run until they are stopped.
SERVERS = frozenset({"up", "console", "metrics"})

#: Containers that are made between two collections. A list of jobs makes 130,000, ``doctor`` 230,000.
_OBJECTS = 300_000


def ends_soon() -> None:
    """Do without collections of garbage, which are a third of the time of a command that only reads.

    What is imported is garbage of nobody, and a process that ends needs no last look at it.
    """
    if gc.get_threshold()[0] < _OBJECTS:
        gc.set_threshold(_OBJECTS, 50, 50)
        atexit.register(gc.freeze)


class CommandEntry(click.Command):
    """Stands in for the command at ``place`` (``module:attribute``) until the app is known."""

    def __init__(self, name: str, place: str, short_help: str, *, of_any_app: str | None = None) -> None:
        super().__init__(name, short_help=short_help, add_help_option=False)
        self._place = place
        self._of_any_app = of_any_app  # an option with which the command takes any Celery app

    def real(self) -> click.Command:
        """Import and return the real command."""
        module, _, attribute = self._place.partition(":")
        return cast(click.Command, getattr(import_module(f"celeriac.cli.commands.{module}"), attribute))

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The real command's context.

        Raises:
            click.ClickException: the app is none of ours.
        """
        found = extra.get("obj") or (parent.obj if parent is not None else None)
        app = getattr(found, "app", None)
        if not _is_ours(app) and not self._takes_any(args):
            name = getattr(app, "main", "default")  # "default" is Celery's own app, when none was named
            named = "no app was named" if name == "default" else f"{name!r} is another Celery app"
            raise click.ClickException(
                f"`{self.name}` is a command of Celeriac apps, and {named}: celery -A MODULE {self.name}, "
                "where MODULE has an app that was made with celeriac.Celeriac"
            )
        if self.name not in SERVERS:
            ends_soon()
        return self.real().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return ctx.command.invoke(ctx)

    def _takes_any(self, args: list[str]) -> bool:
        return any(self._of_any_app and each.partition("=")[0] == self._of_any_app for each in args)


class FlowerEntry(click.Command):
    """Stands in for Flower's own command: that command where Flower is installed, else a sentence.

    Where Flower is installed, Celery finds both under the same name, and either may win.
    """

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if find_spec("flower") is None:
            from celeriac.errors import FlowerMissing

            raise click.ClickException(str(FlowerMissing()))
        command: click.Command = import_module("flower.command").flower
        return command.make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return ctx.command.invoke(ctx)


def _is_ours(app: object) -> bool:
    """Whether ``app`` is a Celeriac, without importing the class: another app does not need it."""
    return any(kind.__module__ == "celeriac.application" for kind in type(app).__mro__)


up = CommandEntry("up", "serving.up:up", "Everything on this machine: worker, beat, console, a Valkey.")
db = CommandEntry("db", "db:db", "The ledger's tables: upgrade, downgrade, current, check, partition.")
schedules = CommandEntry(
    "schedules",
    "schedules:schedules",
    "Schedules: list, show, add, remove, enable, disable, run-now, next, import.",
)
jobs = CommandEntry(
    "jobs", "jobs:jobs", "Jobs in the ledger: list, show, explain, cancel, replay, move, enqueue, watch."
)
dead_letters = CommandEntry(
    "dead-letters", "dead_letters:dead_letters", "Failed jobs: list, show, replay, discard, mute."
)
queues = CommandEntry("queues", "queues:queues", "Queues: depth, age, rates, drift; pause, resume.")
tasks = CommandEntry("tasks", "tasks:tasks", "Tasks: pause, resume.")
limits = CommandEntry("limits", "limits:limits", "Limits: in use, waiting; set, pause, resume.")
workers = CommandEntry(
    "workers", "workers:workers", "Workers: alive or silent, queues, jobs they run; drain."
)
stats = CommandEntry("stats", "stats:stats", "Jobs in numbers: states, waits, runs, retries, failures.")
audit = CommandEntry("audit", "audit:audit", "Who did what: actions of the console, the API, the commands.")
doctor = CommandEntry(
    "doctor",
    "doctor:doctor",
    "What ails it: settings, broker, database, workers, beat, ledger.",
    of_any_app="--adopt",
)
health = CommandEntry(
    "health", "health:health", "Whether this machine's worker or beat lives; for containers."
)
console = CommandEntry("console", "serving.console:console", "The console: the ledger in a browser.")
alerts = CommandEntry("alerts", "alerts:alerts", "Alerts: list what was told, test the receivers.")
tokens = CommandEntry("tokens", "tokens:tokens", "Tokens of the HTTP API: create, list, revoke.")
metrics = CommandEntry("metrics", "serving.metrics:metrics", "Metrics of the ledger, for Prometheus.")
flower = FlowerEntry(
    "flower", short_help="Live workers on a page (the extra celeriac[flower]).", add_help_option=False
)
