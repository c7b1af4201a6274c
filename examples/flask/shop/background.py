"""Celery, as Flask's documentation sets it up; the one difference is the class of the app."""

from celery import Task
from flask import Flask

from celeriac import Celeriac


def celery_init_app(app: Flask) -> Celeriac:
    class FlaskTask(Task):
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celeriac(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app
