"""The ledger: the only code that speaks SQL. It never imports Celery."""
