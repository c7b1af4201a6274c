"""Celery's own commands print a refusal as one sentence; another program's command line is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import click
import pytest
from celery import Celery, concurrency
from celery.bin.base import CLIContext
from celery.bin.celery import celery
from celery.bin.worker import worker
from celery.concurrency import prefork
from celery.fixups.django import DjangoWorkerFixup
from click.globals import pop_context

from celeriac.cli.celery_commands import RefusedCommand, show_refusals
from celeriac.errors import BadArgument, LedgerUnavailable
from celeriac.settings.platform import Settings
from tests.apps import build


@pytest.fixture(autouse=True)
def _no_command_goes_on() -> Iterator[None]:
    """Click leaves a context in force whose end raises, as a refusal does; a process would end there."""
    yield
    while click.get_current_context(silent=True) is not None:
        pop_context()


@pytest.mark.parametrize(
    ("error", "code"), [(BadArgument("queue", "wanted one"), 2), (LedgerUnavailable("no"), 1)]
)
def test_a_refusal_is_a_sentence_of_celerys_command_line(error: Exception, code: int) -> None:
    with pytest.raises(RefusedCommand, match=str(error)) as raised, click.Context(celery):
        show_refusals(None)
        raise error
    assert raised.value.exit_code == code


def test_what_is_no_refusal_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), click.Context(celery):
        show_refusals(None)
        _ = 1 / 0


def test_another_programs_command_line_is_left_alone() -> None:
    with pytest.raises(BadArgument), click.Context(click.Command("mine")):
        show_refusals(None)
        raise BadArgument("queue", "wanted one")


@pytest.mark.parametrize(
    ("words", "conf", "environment", "chosen"),
    [
        ([], {}, {}, "burst"),
        (["-P", "prefork"], {}, {}, "prefork"),
        ([], {"worker_pool": "prefork"}, {}, "prefork"),
        ([], {"worker_pool": "threads"}, {}, "threads"),
        (["-P", "burst"], {}, {}, "burst"),
        (["--pool=solo"], {}, {}, "solo"),
        ([], {"worker_pool": "burst"}, {}, "burst"),
        (["-P", "prefork"], {"worker_pool": "burst"}, {}, "prefork"),
        (["-P", "burst"], {"worker_pool": "solo"}, {}, "burst"),
        ([], {"worker_pool": "burst"}, {"CELERY_WORKER_POOL": "prefork"}, "prefork"),
    ],
)
def test_a_worker_has_the_pool_that_is_named(
    words: list[str],
    conf: dict[str, Any],
    environment: dict[str, str],
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Celery's own ``-P prefork`` is whatever ``worker_pool`` says."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    app = build(Settings(task_modules=()), set_as_current=False)
    app.conf.update(conf)
    given = CLIContext(app=app, no_color=True, workdir=None)
    with worker.make_context("worker", [*words], obj=given, auto_envvar_prefix="CELERY_WORKER") as context:
        pool = context.params["pool"]
    assert pool is concurrency.get_implementation(chosen)


def test_a_plain_app_beside_it_has_celerys_default() -> None:
    build(Settings(task_modules=()), set_as_current=False)
    given = CLIContext(app=Celery("plain", set_as_current=False), no_color=True, workdir=None)
    with worker.make_context("worker", [], obj=given) as context:
        assert context.params["pool"] is concurrency.get_implementation("prefork")


@pytest.mark.parametrize("pool", ["prefork", "burst"])
def test_django_has_its_pools_of_connections_closed_in_a_new_child(pool: str) -> None:
    """Celery's fixup asks for the name of the pool's module."""
    build(Settings(task_modules=()), set_as_current=False)
    fixup = DjangoWorkerFixup.__new__(DjangoWorkerFixup)
    fixup.worker = SimpleNamespace(pool_cls=concurrency.get_implementation(pool))
    if hasattr(fixup, "_is_prefork"):  # older versions of Celery close none
        assert fixup._is_prefork()


def test_without_an_event_loop_the_burst_pool_is_prefork(caplog: pytest.LogCaptureFixture) -> None:
    app = build(Settings(task_modules=()), set_as_current=False)
    burst = concurrency.get_implementation("burst")
    assert type(burst(2, app=app, threads=False)) is burst
    assert not caplog.messages
    assert type(burst(2, app=app, threads=True)) is prefork.TaskPool
    assert "the pool is prefork" in caplog.text
