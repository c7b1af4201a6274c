"""Calls that are awaited in an event loop: ``adelay``."""
