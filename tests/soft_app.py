"""An app that gives its jobs two seconds when it is told to quit: ``celery -A tests.soft_app``."""

from __future__ import annotations

from celeriac import Celeriac

app = Celeriac("app", worker_soft_shutdown_timeout=2.0, defaults={"task_modules": ("tests.jobs",)})
