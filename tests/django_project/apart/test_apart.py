"""The ledger is in no database of Django's: jobs are enqueued after its transactions."""

import os

import django
import pytest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
django.setup()

from django.db import transaction  # noqa: E402  # the settings are named first

from celeriac import jobs  # noqa: E402  # like them
from shop.tasks import confirm  # noqa: E402  # applications are ready


def test_jobs_follow_the_commit() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        confirm.delay_on_commit(1)
        raise ZeroDivisionError
    assert jobs() == []
    with transaction.atomic():
        confirm.delay_on_commit(2)
        assert jobs() == []
    assert [job.args for job in jobs()] == [[2]]


def test_a_plain_call_is_no_part_of_the_transaction() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        confirm.apply_async((3,), task_id="0192d3a4-0000-7000-8000-000000000003")
        raise ZeroDivisionError
    assert [3] in [job.args for job in jobs()]
