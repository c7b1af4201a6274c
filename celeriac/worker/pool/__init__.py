"""The way into Celery's pool and back: one attempt, its place, its rate limit."""
