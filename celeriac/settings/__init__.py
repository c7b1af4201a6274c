"""Settings: the platform's own, what it does with Celery's, and what becomes of a write to ``app.conf``."""
