"""SAQ on PostgreSQL, its defaults: as on Redis, but a job is a row, which stays for ten minutes."""

from __future__ import annotations

import os

from saq import Queue

from benchmarks import saq_peer
from benchmarks.side import libpq

queue = Queue.from_url(libpq(os.environ["DATABASE_URL"]))
settings = saq_peer.settings(queue)

if __name__ == "__main__":
    saq_peer.run(queue, "benchmarks.sides.saq_postgres", distributions=("psycopg",))
