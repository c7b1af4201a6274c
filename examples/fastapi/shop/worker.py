"""What ``celery -A shop.worker`` loads. The jobs live in the database of the members."""

from celeriac import Celeriac
from shop.settings import settings

app = Celeriac(
    "shop",
    broker=settings.broker_url,
    ledger=settings.database_url,
    include=["shop.tasks"],
    beat_schedule={"digest": {"task": "shop.digest", "schedule": settings.digest_every}},
)
