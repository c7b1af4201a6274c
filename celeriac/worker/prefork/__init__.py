"""Pools that are Celery's prefork underneath."""
