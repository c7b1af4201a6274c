"""The tables of the ledger, up to its revision 0028: what operators do, flow control, workers of jobs."""

from typing import Any

from django.db import migrations, models

from celeriac.contrib.django import tables

REVISION = "0028"
BEFORE = "0011"
_KINDS = ("error", "timeout", "lost", "rejected", "invalid", "cancelled", "snoozed")


def upgrade(apps: Any, schema_editor: Any) -> None:
    tables.upgrade(schema_editor.connection.alias, REVISION)


def downgrade(apps: Any, schema_editor: Any) -> None:
    tables.downgrade(schema_editor.connection.alias, to=BEFORE)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("celeriac", "0001_ledger"),)
    operations = (
        migrations.RunPython(upgrade, downgrade),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="attempt",
                    name="kind",
                    field=models.CharField(choices=[(kind, kind) for kind in _KINDS], max_length=16),
                )
            ]
        ),
    )
