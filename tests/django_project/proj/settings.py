"""Settings. The databases are named by PROJECT_DATABASE and PROJECT_LEDGER, as URLs."""

import json
import os

from sqlalchemy import make_url

SECRET_KEY = "of the tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "proj.urls"
USE_TZ = os.environ.get("PROJECT_USE_TZ", "yes") == "yes"
TIME_ZONE = "Europe/Prague"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "celeriac.contrib.django",
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database(url: str) -> dict[str, object]:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parsed.database or ":memory:"}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parsed.database,
        "USER": parsed.username,
        "HOST": parsed.host,
        "PORT": parsed.port,
    }


DATABASES = {"default": _database(os.environ["PROJECT_DATABASE"])}
if engine := os.environ.get("PROJECT_ENGINE"):
    DATABASES["default"]["ENGINE"] = engine
if other := os.environ.get("PROJECT_LEDGER"):
    DATABASES["jobs"] = _database(other)

CELERY_BROKER_URL = os.environ["PROJECT_BROKER"]
CELERY_TASK_TIME_LIMIT = 600
CELERIAC = {"MAX_TRIES": 3, **json.loads(os.environ.get("PROJECT_CELERIAC", "{}"))}
TASKS = {"default": {"BACKEND": "celeriac.contrib.django.backend.CeleriacBackend"}}
