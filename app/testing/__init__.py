"""For those who write tasks: a private ledger, to enqueue into and to drain in process."""

from app.testing.kit import Kit

__all__ = ["Kit"]
