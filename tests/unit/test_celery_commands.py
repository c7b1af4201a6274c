"""Celery's own commands print a refusal as one sentence; another program's command line is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from celery.bin.celery import celery
from click.globals import pop_context

from celeriac.cli.celery_commands import RefusedCommand, show_refusals
from celeriac.errors import BadArgument, LedgerUnavailable


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
