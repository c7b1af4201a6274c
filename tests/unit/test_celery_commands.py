"""Celery's own commands print a refusal as one sentence; another program's command line is left alone."""

from __future__ import annotations

import click
import pytest
from celery.bin.celery import celery

from celeriac.cli.celery_commands import RefusedCommand, show_refusals
from celeriac.errors import BadArgument, LedgerUnavailable


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
