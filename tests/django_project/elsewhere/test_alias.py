"""A ledger in another of DATABASES: its transactions are joined, those of the default database are not."""

import os

import django
import pytest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
django.setup()

from django.db import transaction  # noqa: E402  # the settings are named first

from celeriac import JobNotFound, job  # noqa: E402  # like them
from celeriac.contrib.django.models import Job  # noqa: E402  # like them
from shop.tasks import confirm  # noqa: E402  # applications are ready


def test_a_job_is_part_of_the_transaction_of_the_ledgers_database() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic("jobs"):
        result = confirm.delay(1)
        assert Job.objects.get(pk=result.id).task == "shop.tasks.confirm"
        raise ZeroDivisionError
    with pytest.raises(JobNotFound):
        job(result.id)


def test_a_transaction_of_another_database_is_not_the_ledgers() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        result = confirm.delay(1)
        raise ZeroDivisionError
    assert job(result.id).args == [1]
