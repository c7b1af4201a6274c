"""Batches: many jobs of a task in one run of its function, each with an outcome of its own."""
