"""The ledger's tables as models, to be read: for queries and the admin. Nothing is written through them.

The tables themselves are made by the ledger's own migrations. Columns that need the platform to be read (a
message's bytes and headers) are left out; ``Job.details`` has what they say.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models
from django.db.models.fields.related import ForeignObject
from django.utils.functional import cached_property

from celeriac.contrib.django.fields import InstantField
from celeriac.errors import BadArgument
from celeriac.ledger.schema import models as ledger
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.names import NAME_LENGTH
from celeriac.operate import job as jobs


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise BadArgument(
        "job",
        "the ledger's rows are not written through Django's models: use .delay(), cancel() and replay()",
    )


class LedgerRows(models.QuerySet):
    """Rows of the ledger, which are read only."""

    create = bulk_create = bulk_update = get_or_create = update_or_create = update = delete = _refuse

    def raw_delete(self, using: Any) -> NoReturn:
        _refuse()


class LedgerManager(models.Manager.from_queryset(LedgerRows)):  # type: ignore[misc]  # made by Django
    """Reads from the database that has the ledger, whichever of DATABASES it is."""

    def get_queryset(self) -> Any:
        from celeriac.contrib.django.tables import ledger_alias

        return super().get_queryset().using(ledger_alias())


class LedgerModel(models.Model):
    """What all of them have in common."""

    objects = LedgerManager()

    class Meta:
        abstract = True

    save = delete = save_base = _refuse


class Job(LedgerModel):
    """A job: one request to run a task. Its row says what became of it."""

    id = models.UUIDField(primary_key=True)
    task = models.CharField(max_length=NAME_LENGTH, db_column="job_type")
    state = models.CharField(max_length=16, choices=[(str(state), str(state)) for state in JobState])
    queue = models.CharField(max_length=NAME_LENGTH)
    priority = models.IntegerField()
    user_id = models.CharField("user", max_length=NAME_LENGTH, null=True)
    idempotency_key = models.CharField(max_length=NAME_LENGTH, null=True)
    schedule = models.CharField(max_length=NAME_LENGTH, null=True)
    queued = InstantField()
    next_attempt_after = InstantField()
    dispatched = InstantField(null=True)
    started = InstantField(null=True)
    finished = InstantField(null=True)
    expires = InstantField(null=True)
    try_count = models.IntegerField("tries")
    max_tries = models.IntegerField()
    timeout = models.FloatField(null=True)
    cancel_requested = models.CharField(max_length=4, null=True)
    worker_id = models.UUIDField(null=True)
    root_id = models.UUIDField(null=True)
    parent_id = models.UUIDField(null=True)
    group_id = models.UUIDField(null=True)
    failure_info = models.TextField("last failure", null=True)

    class Meta:
        db_table = ledger.JOBS.name
        default_permissions = ("view",)
        permissions = (("replay_job", "Can replay jobs"), ("cancel_job", "Can cancel jobs"))
        ordering = ("-queued", "-id")

    def __str__(self) -> str:
        return f"{self.task} {self.id}"

    @cached_property
    def details(self) -> jobs.Job:
        """The job as the platform shows it: with its arguments, its result and its attempts."""
        return jobs.job(str(self.id))


class Attempt(LedgerModel):
    """An attempt that was not successful. Its key is the job and the number of the attempt, together."""

    job_id = models.UUIDField(primary_key=True)
    job = ForeignObject(
        Job, models.DO_NOTHING, from_fields=("job_id",), to_fields=("id",), related_name="attempts"
    )
    attempt = models.IntegerField()
    worker_id = models.UUIDField(null=True)
    started = InstantField(null=True)
    finished = InstantField()
    kind = models.CharField(max_length=16, choices=[(str(kind), str(kind)) for kind in AttemptKind])
    exception_type = models.CharField(max_length=NAME_LENGTH, null=True)
    exception = models.TextField(null=True)
    frame = models.CharField(max_length=NAME_LENGTH, null=True)
    traceback = models.TextField(null=True)

    class Meta:
        db_table = ledger.FAILURES.name
        default_permissions = ("view",)
        ordering = ("job_id", "attempt")

    def __str__(self) -> str:
        return f"attempt {self.attempt} of {self.job_id}"


class Worker(LedgerModel):
    """One start of a worker."""

    id = models.UUIDField(primary_key=True)
    hostname = models.CharField(max_length=NAME_LENGTH)
    started = InstantField()
    heartbeat = InstantField()
    stopped = InstantField(null=True)

    class Meta:
        db_table = ledger.WORKERS.name
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.hostname)


class WorkerTask(LedgerModel):
    """A task that workers know. Its key is both columns together."""

    tasks = models.CharField(max_length=64, primary_key=True)
    name = models.CharField(max_length=NAME_LENGTH)

    class Meta:
        db_table = ledger.WORKER_TASKS.name
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.name)


class Schedule(LedgerModel):
    """When a task is enqueued automatically."""

    name = models.CharField(max_length=NAME_LENGTH, primary_key=True)
    task = models.CharField(max_length=NAME_LENGTH)
    enabled = models.BooleanField()
    last_run = InstantField(null=True)
    next_run = InstantField(null=True)

    class Meta:
        db_table = ledger.SCHEDULES.name
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.name)
