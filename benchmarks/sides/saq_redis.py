"""SAQ on Redis, its defaults: a worker is one process with up to ten jobs at a time."""

from __future__ import annotations

import os

from saq import Queue

from benchmarks import saq_peer

queue = Queue.from_url(os.environ["CELERY_BROKER_URL"])
settings = saq_peer.settings(queue)

if __name__ == "__main__":
    saq_peer.run(queue, "benchmarks.sides.saq_redis", distributions=("redis",))
