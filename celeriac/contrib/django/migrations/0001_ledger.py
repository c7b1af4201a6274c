"""The tables of the ledger, up to its revision 0011, and what Django knows of them.

Each revision of the ledger has a migration here, which brings the tables to it.
"""

from typing import Any

from django.db import migrations, models
from django.db.models.deletion import DO_NOTHING

from celeriac.contrib.django import tables
from celeriac.contrib.django.fields import InstantField
from celeriac.ledger.schema import models as ledger

REVISION = "0011"


def upgrade(apps: Any, schema_editor: Any) -> None:
    tables.upgrade(schema_editor.connection.alias, REVISION)


def downgrade(apps: Any, schema_editor: Any) -> None:
    tables.downgrade(schema_editor.connection.alias)


class Migration(migrations.Migration):
    initial = True
    atomic = False  # the ledger's indexes are made outside of transactions, while others write
    operations = (
        migrations.RunPython(upgrade, downgrade),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="Job",
                    fields=[
                        ("id", models.UUIDField(primary_key=True, serialize=False)),
                        ("task", models.CharField(db_column="job_type", max_length=255)),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("pending", "pending"),
                                    ("running", "running"),
                                    ("completed", "completed"),
                                    ("error", "error"),
                                    ("failed", "failed"),
                                    ("cancelled", "cancelled"),
                                ],
                                max_length=16,
                            ),
                        ),
                        ("queue", models.CharField(max_length=255)),
                        ("priority", models.IntegerField()),
                        ("user_id", models.CharField(max_length=255, null=True, verbose_name="user")),
                        ("idempotency_key", models.CharField(max_length=255, null=True)),
                        ("schedule", models.CharField(max_length=255, null=True)),
                        ("queued", InstantField()),
                        ("next_attempt_after", InstantField()),
                        ("dispatched", InstantField(null=True)),
                        ("started", InstantField(null=True)),
                        ("finished", InstantField(null=True)),
                        ("expires", InstantField(null=True)),
                        ("try_count", models.IntegerField(verbose_name="tries")),
                        ("max_tries", models.IntegerField()),
                        ("timeout", models.FloatField(null=True)),
                        ("cancel_requested", models.CharField(max_length=4, null=True)),
                        ("worker_id", models.UUIDField(null=True)),
                        ("root_id", models.UUIDField(null=True)),
                        ("parent_id", models.UUIDField(null=True)),
                        ("group_id", models.UUIDField(null=True)),
                        ("failure_info", models.TextField(null=True, verbose_name="last failure")),
                    ],
                    options={
                        "db_table": ledger.JOBS.name,
                        "ordering": ("-queued", "-id"),
                        "permissions": (("replay_job", "Can replay jobs"), ("cancel_job", "Can cancel jobs")),
                        "default_permissions": ("view",),
                    },
                ),
                migrations.CreateModel(
                    name="Schedule",
                    fields=[
                        ("name", models.CharField(max_length=255, primary_key=True, serialize=False)),
                        ("task", models.CharField(max_length=255)),
                        ("enabled", models.BooleanField()),
                        ("last_run", InstantField(null=True)),
                        ("next_run", InstantField(null=True)),
                    ],
                    options={
                        "db_table": ledger.SCHEDULES.name,
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Worker",
                    fields=[
                        ("id", models.UUIDField(primary_key=True, serialize=False)),
                        ("hostname", models.CharField(max_length=255)),
                        ("started", InstantField()),
                        ("heartbeat", InstantField()),
                        ("stopped", InstantField(null=True)),
                    ],
                    options={
                        "db_table": ledger.WORKERS.name,
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="WorkerTask",
                    fields=[
                        ("tasks", models.CharField(max_length=64, primary_key=True, serialize=False)),
                        ("name", models.CharField(max_length=255)),
                    ],
                    options={
                        "db_table": ledger.WORKER_TASKS.name,
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Attempt",
                    fields=[
                        ("job_id", models.UUIDField(primary_key=True, serialize=False)),
                        ("attempt", models.IntegerField()),
                        ("worker_id", models.UUIDField(null=True)),
                        ("started", InstantField(null=True)),
                        ("finished", InstantField()),
                        (
                            "kind",
                            models.CharField(
                                choices=[
                                    ("error", "error"),
                                    ("timeout", "timeout"),
                                    ("lost", "lost"),
                                    ("rejected", "rejected"),
                                    ("invalid", "invalid"),
                                    ("cancelled", "cancelled"),
                                ],
                                max_length=16,
                            ),
                        ),
                        ("exception_type", models.CharField(max_length=255, null=True)),
                        ("exception", models.TextField(null=True)),
                        ("frame", models.CharField(max_length=255, null=True)),
                        ("traceback", models.TextField(null=True)),
                        (
                            "job",
                            models.ForeignObject(
                                from_fields=("job_id",),
                                on_delete=DO_NOTHING,
                                related_name="attempts",
                                to="celeriac.job",
                                to_fields=("id",),
                            ),
                        ),
                    ],
                    options={
                        "db_table": ledger.FAILURES.name,
                        "ordering": ("job_id", "attempt"),
                        "default_permissions": ("view",),
                    },
                ),
            ]
        ),
    )
