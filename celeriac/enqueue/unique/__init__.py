"""Calls of unique tasks: their keys, and what becomes of one whose key another job has."""
