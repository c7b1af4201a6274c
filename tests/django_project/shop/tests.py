"""Tests as Django runs them: ``manage.py test``, also in parallel."""

from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from celeriac.contrib.django.models import Job
from celeriac.testing import Kit
from proj.celery import app
from shop.models import Order
from shop.tasks import confirm


class Checkout(TestCase):
    """A TestCase, as Django has it."""

    def test_messages_leave_on_commit(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks, transaction.atomic():
            confirm.delay(1)
        assert len(callbacks) == 1
        assert Job.objects.count() == 1

    def test_delay_on_commit_runs_with_the_callbacks(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            confirm.delay_on_commit(1)
            assert Job.objects.count() == 0
        assert Job.objects.count() == 1

    def test_the_kit_runs_jobs(self) -> None:
        order = Order.objects.create(name="book")
        with Kit(app) as kit:
            confirm.delay(order.pk)
            assert len(kit.drain()) == 1
        order.refresh_from_db()
        assert order.confirmed


class Afterwards(TransactionTestCase):
    """A TransactionTestCase, as Django has it."""

    def test_jobs_of_others_are_gone(self) -> None:
        assert Job.objects.count() == 0
        confirm.delay(1)
        assert Job.objects.count() == 1
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM background_jobs")
            assert cursor.fetchone() == (1,)
