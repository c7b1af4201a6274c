"""Unique jobs: take keys, decide about calls whose key is taken, and rows that follow other jobs."""
