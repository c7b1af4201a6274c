"""When the platform sets up the logs: for its own apps, unless the team does, or has set Celery's forms."""

from __future__ import annotations

from typing import Any

from celery.app.log import Logging as CeleryLogging
from celery.signals import setup_logging

#: Settings of Celery that say how a line looks: with one of them, logs are set up by Celery.
_FORMS = (
    "worker_log_format",
    "worker_task_log_format",
    "worker_log_datefmt",
    "worker_task_log_datefmt",
)


class Logging(CeleryLogging):
    """Celery's set-up of logs, whose lines look as ``celeriac/observe/logs.py`` says."""

    app: Any

    def setup_logging_subsystem(self, *args: Any, **options: Any) -> Any:
        if self.already_setup or setup_logging.receivers or self._is_celerys():
            return super().setup_logging_subsystem(*args, **options)
        setup_logging.connect(self._configure, weak=False)
        try:
            return super().setup_logging_subsystem(*args, **options)
        finally:
            setup_logging.disconnect(self._configure)

    def _is_celerys(self) -> bool:
        conf = self.app.conf
        return not conf.worker_hijack_root_logger or any(map(conf.value_set_for, _FORMS))

    def _configure(self, **options: Any) -> None:
        from celeriac.observe import (
            logs,  # with structlog: not for a probe, a command or a producer without logs
        )

        logs.configure(self.app, **options)
