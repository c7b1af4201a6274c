"""Django's settings for ``django_celery_results``: its defaults, but for what has none."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

_url = urlsplit(os.environ["DATABASE_URL"])

SECRET_KEY = "benchmarks"
INSTALLED_APPS = ["django_celery_results"]
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _url.hostname,
        "PORT": _url.port,
        "USER": _url.username,
        "NAME": _url.path.removeprefix("/"),
    }
}
