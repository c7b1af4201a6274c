"""Queries. Nothing here writes or locks."""
