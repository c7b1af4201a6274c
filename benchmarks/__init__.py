"""What recording every job costs: Celeriac beside plain Celery, whole processes on real servers.

``python -m benchmarks`` runs them; docs/performance.md says what is measured and how.
"""
