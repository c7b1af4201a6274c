"""An app whose broker is behind Sentinel, for workers: ``celery -A tests.sentinel_app``."""

from __future__ import annotations

from celeriac import Celeriac
from tests.servers import SentinelGroup

app = Celeriac(
    "app",
    broker_transport_options={"master_name": SentinelGroup.MASTER},
    defaults={"task_modules": ("tests.jobs",)},
)
