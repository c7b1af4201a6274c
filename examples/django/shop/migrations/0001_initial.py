from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = (
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("item", models.CharField(max_length=80)),
                ("amount", models.PositiveIntegerField()),
                ("placed", models.DateTimeField(auto_now_add=True)),
                ("receipt", models.CharField(blank=True, max_length=80)),
            ],
        ),
        migrations.CreateModel(
            name="Turnover",
            fields=[
                ("day", models.DateField(primary_key=True, serialize=False)),
                ("amount", models.PositiveIntegerField()),
            ],
        ),
    )
