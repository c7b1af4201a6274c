"""The work. Importing any task binds it to the app, so that ``.delay()`` from app code finds its ledger.

Every module in here is loaded when Celery asks for the tasks: in workers, in beat, and before a producer
names a task that it did not import. A producer that imports one module loads only that one, so that a
task may import the very code that enqueues it.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from celery.signals import import_modules

from app.celery import app as celery_app

__all__ = ["celery_app"]


@import_modules.connect(weak=False)
def _import_every_module(**_: Any) -> None:
    for module in iter_modules(__path__, f"{__name__}."):
        import_module(module.name)


if __name__ in celery_app.loader.task_modules:  # Celery's loader is importing this: its signal is over
    _import_every_module()
