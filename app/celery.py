"""The app that ``celery -A app`` finds."""

from celeriac import Celeriac

app = Celeriac(
    "app", defaults={"task_modules": ("tasks",), "schedule_module": "beat_schedule", "hard_limit": 3600}
)
