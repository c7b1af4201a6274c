"""The app that ``celery -A app`` finds: built from the environment when this module is imported."""

from app.factory import build
from app.settings import read_settings

app = build(read_settings())
