"""The tables of the ledger, up to its revision 0013: what operators do and see. Django knows none of them."""

from typing import Any

from django.db import migrations

from celeriac.contrib.django import tables

REVISION = "0013"
BEFORE = "0011"


def upgrade(apps: Any, schema_editor: Any) -> None:
    tables.upgrade(schema_editor.connection.alias, REVISION)


def downgrade(apps: Any, schema_editor: Any) -> None:
    tables.downgrade(schema_editor.connection.alias, to=BEFORE)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("celeriac", "0001_ledger"),)
    operations = (migrations.RunPython(upgrade, downgrade),)
