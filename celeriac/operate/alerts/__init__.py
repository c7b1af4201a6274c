"""Alerts: find what is wrong, tell it once, and tell its end."""
