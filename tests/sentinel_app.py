"""An app whose broker is behind Sentinel, for workers: ``celery -A tests.sentinel_app``."""

from __future__ import annotations

import json
import os
from typing import Any

from celeriac import Celeriac
from tests.servers import SentinelGroup

options: dict[str, Any] = {"broker_transport_options": {"master_name": SentinelGroup.MASTER}}
options |= json.loads(os.environ.get(SentinelGroup.OPTIONS, "{}"))
app = Celeriac("app", **options, defaults={"task_modules": ("tests.jobs",)})
