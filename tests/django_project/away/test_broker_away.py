"""A commit while the broker is away; started with a broker that nobody answers for."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
django.setup()

from django.db import transaction  # noqa: E402  # the settings are named first

from celeriac import job  # noqa: E402  # like them
from shop.tasks import confirm  # noqa: E402  # applications are ready


def test_a_broker_that_is_away_breaks_no_commit() -> None:
    done: list[str] = []
    with transaction.atomic():
        result = confirm.delay(1)
        transaction.on_commit(lambda: done.append("mine"))
    assert done == ["mine"]
    assert (str(job(result.id).state), job(result.id).dispatched) == ("pending", None)
